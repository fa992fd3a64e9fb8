"""socketserver's ThreadingTCPServer: a thread and a socket for each connection, all
of which end, one in ten after seven seconds."""

import os
import socket
import socketserver
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import corpus


class Handler(socketserver.StreamRequestHandler):
    """A line for a line."""

    def handle(self) -> None:
        """Slow if asked to be."""
        corpus.held["handle"] += 1
        time.sleep(7 if self.rfile.readline() == b"slow\n" else 0.01)
        self.wfile.write(b"done\n")
        corpus.held["handle"] -= 1


def ask(address, word: bytes) -> None:
    """One request."""
    with socket.create_connection(address) as connection:
        connection.sendall(word)
        connection.recv(64)


def run_clients(address) -> None:
    """In a process of its own."""
    number = 0
    while corpus.beat(8):
        number += 1
        word = b"slow\n" if number % 10 == 0 else b"quick\n"
        threading.Thread(target=ask, args=(address, word), daemon=True).start()
    threading.Event().wait()


class Server(socketserver.ThreadingTCPServer):
    """Its threads do not keep the program."""

    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
corpus.peer(run_clients, server.server_address)
threading.Thread(target=server.serve_forever, daemon=True).start()
corpus.begin()
while corpus.beat(5):
    pass
corpus.finish()
