"""Clients at a steady rate: mostly on kept connections, one request in ten on a new one."""

import http.client
import random
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

KEPT = 8
LIFETIME = 500


class Client:
    """How one protocol connects and asks; `ask` raises if the answer is wrong."""

    keep = True
    trouble = ""

    def open(self, port: int):
        """A connection."""
        return socket.create_connection(("127.0.0.1", port), timeout=20)

    def ask(self, connection, number: int) -> None:
        """One request and its answer."""
        raise NotImplementedError

    def drive(self, port: int, per_second: int, seconds: float, counts) -> None:
        """Asks until time is over; `counts` are requests done and failed."""
        pace, end_at, number = time.monotonic(), time.monotonic() + seconds, 0
        dice, kept = random.Random(7), {}
        while time.monotonic() < end_at:
            number += 1
            pace += 1 / per_second
            time.sleep(max(0.0, pace - time.monotonic()))
            # Never a storm after a pause: what was missed is not made up for.
            pace = max(pace, time.monotonic() - 0.5)
            slot = dice.randrange(KEPT) if self.keep and number % 10 else None
            failed = self.ask_once(port, kept, slot, number)
            counts[failed] += 1
            if failed:
                print(f"{time.strftime('%T')} port {port}: request {number}: {self.trouble}", file=sys.stderr, flush=True)

    def ask_once(self, port: int, kept: dict, slot: int | None, number: int) -> int:
        """0 if it was answered, else 1."""
        connection = None
        try:
            connection = kept.pop(slot, None) or self.open(port)
            self.ask(connection, number)
            if slot is not None and number % LIFETIME:
                kept[slot], connection = connection, None
            return 0
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.trouble = repr(error)
            return 1
        finally:
            if connection is not None:
                connection.close()


@dataclass
class Http(Client):
    """GET of one path."""

    path: str
    keep: bool = True

    def open(self, port: int):
        """Connects with the first request."""
        return http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def ask(self, connection, number: int) -> None:
        """Anything but 200 is wrong."""
        connection.request("GET", self.path)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise ValueError(f"request {number}: status {answer.status}")


def expect(connection: socket.socket, wanted: bytes) -> None:
    """Reads as many bytes as wanted and compares."""
    got = b""
    while len(got) < len(wanted) and (more := connection.recv(len(wanted) - len(got))):
        got += more
    if got != wanted:
        raise ValueError(f"expected {wanted!r}, got {got!r}")


class Redis(Client):
    """SET and GET on 20 000 keys, some of which expire."""

    def ask(self, connection, number: int) -> None:
        """Two commands."""
        key, value = b"key:%05d" % (number * 7919 % 20000), b"v" * 100
        connection.sendall(b"*5\r\n$3\r\nSET\r\n$9\r\n%s\r\n$100\r\n%s\r\n$2\r\nEX\r\n$2\r\n60\r\n" % (key, value))
        expect(connection, b"+OK\r\n")
        connection.sendall(b"*2\r\n$3\r\nGET\r\n$9\r\n%s\r\n" % key)
        expect(connection, b"$100\r\n%s\r\n" % value)


class Memcached(Client):
    """Sets of two kilobytes on many keys: more than there is memory for."""

    def ask(self, connection, number: int) -> None:
        """One set."""
        connection.sendall(b"set k%d 0 60 2000\r\n%s\r\n" % (number * 7919 % 20000, b"v" * 2000))
        expect(connection, b"STORED\r\n")


class Mqtt(Client):
    """Publishes with acknowledgement, to few topics, retained."""

    opened = 0

    def open(self, port: int):
        """CONNECT, with a clean session."""
        connection = super().open(port)
        self.opened += 1
        name = b"c%06d" % self.opened
        connection.sendall(b"\x10\x13\x00\x04MQTT\x04\x02\x00\x3c\x00\x07" + name)
        expect(connection, b"\x20\x02\x00\x00")
        return connection

    def ask(self, connection, number: int) -> None:
        """PUBLISH with quality 1, and its PUBACK."""
        topic, identity = b"things/%02d" % (number % 40), (1 + number % 60000).to_bytes(2, "big")
        body = b"\x00\x09" + topic + identity + b"payload of a thing"
        connection.sendall(b"\x33" + bytes([len(body)]) + body)
        expect(connection, b"\x40\x02" + identity)


class Pgbench(Client):
    """pgbench's built-in select at a rate, in runs of twenty seconds: four new backends each."""

    def drive(self, port: int, per_second: int, seconds: float, counts) -> None:
        """Whole runs only."""
        end_at = time.monotonic() + seconds
        while time.monotonic() < end_at:
            span = str(max(1, int(min(20, end_at - time.monotonic()))))
            command = ["pgbench", "-n", "-S", "-c", "4", "-R", str(per_second), "-T", span, "-h", "127.0.0.1", "-p", str(port)]
            command += ["-U", "postgres", "postgres"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            words = done.stdout.partition("actually processed: ")[2].split()
            lost = done.stdout.partition("failed transactions: ")[2].split() or ["0"]
            counts[0] += int(words[0].split("/")[0]) if words else 0
            counts[1] += int(lost[0]) if done.returncode == 0 else 1
            if done.returncode != 0 or lost[0] != "0":
                print(f"{time.strftime('%T')} pgbench: {done.stderr[-500:]}", file=sys.stderr, flush=True)
