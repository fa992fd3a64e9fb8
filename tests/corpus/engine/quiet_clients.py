"""Clients that keep a connection and ask seldom: what a fix may take for forgotten."""

import multiprocessing
import socket
import struct
from dataclasses import dataclass

from clients import Client

CONNECTIONS = 6
# uvicorn and node close what says nothing for five seconds.
PAUSE_S = 4.0


class Postgres(Client):
    """A session that asks for a sum."""

    def open(self, port: int):
        """Says who it is; nobody asks for a password."""
        connection = super().open(port)
        words = b"user\0postgres\0database\0postgres\0\0"
        connection.sendall(struct.pack("!ii", 8 + len(words), 196608) + words)
        self.answers(connection)
        return connection

    def ask(self, connection, number: int) -> None:
        """One question; the answer must have the sum."""
        text = b"select %d + 1\0" % number
        connection.sendall(b"Q" + struct.pack("!i", 4 + len(text)) + text)
        if b"%d" % (number + 1) not in self.answers(connection):
            raise ValueError(f"no {number + 1}")

    @staticmethod
    def answers(connection: socket.socket) -> bytes:
        """All until it is ready for the next question."""
        got = b""
        while not got.endswith((b"Z\0\0\0\5I", b"Z\0\0\0\5E")):
            more = connection.recv(65536)
            if not more:
                raise ConnectionResetError("the server closed the connection")
            got += more
        return got


@dataclass
class Quiet:
    """Those of one server, in a process of their own."""

    client: Client
    port: int

    def __post_init__(self) -> None:
        self.counts = multiprocessing.Array("q", 2, lock=False)
        self.process = multiprocessing.Process(target=self.drive, daemon=True)
        self.stopping = multiprocessing.Event()

    def drive(self) -> None:
        """Each connection in its turn; a lost one is made anew for the next question."""
        kept, number = {}, 0
        while not self.stopping.wait(PAUSE_S / CONNECTIONS):
            number += 1
            self.counts[self.client.ask_once(self.port, kept, number % CONNECTIONS, number)] += 1

    def stop(self) -> None:
        """Waits for its last answer."""
        self.stopping.set()
        self.process.join(30)
