"""Connections sit in reference cycles, so that they are closed not when the last
name goes but when the collector runs: here every twelve seconds."""

import gc
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import corpus


class Call:
    """A request that knows itself as its own callback."""

    def __init__(self, address) -> None:
        self.connection = socket.create_connection(address)
        self.callback = self.done
        corpus.held["Call"] += 1

    def done(self) -> None:
        """Reads the answer."""
        self.connection.sendall(b"call\n")
        self.connection.recv(64)

    def __del__(self) -> None:
        self.connection.close()
        corpus.held["Call"] -= 1


gc.disable()
address = corpus.upstream(stay=True)
corpus.begin()
collected = 0.0
while corpus.beat(4):
    Call(address).callback()
    if corpus.elapsed() - collected > 12:
        collected = corpus.elapsed()
        gc.collect()
corpus.finish()
