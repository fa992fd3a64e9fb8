"""An asyncio server with twenty clients that connect and then are silent for the
whole run, beside clients that ask and go."""

import asyncio
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import corpus


def run_clients(address) -> None:
    """In a process of its own."""
    idle = [socket.create_connection(address) for _ in range(20)]
    while idle:
        with socket.create_connection(address) as asking:
            asking.sendall(b"hello\n")
            asking.recv(64)
        time.sleep(0.1)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A line for a line."""
    corpus.held["serve"] += 1
    while await reader.readline():
        writer.write(b"welcome\n")
        await writer.drain()
    writer.close()
    corpus.held["serve"] -= 1


async def main(listener: socket.socket) -> None:
    """Serves until time is over."""
    await asyncio.start_server(serve, sock=listener)
    corpus.begin()
    while not corpus.over():
        await asyncio.sleep(0.2)
    corpus.finish()


listener = corpus.listener()
corpus.peer(run_clients, listener.getsockname())
asyncio.run(main(listener))
