"""call() raises on a bad answer; the handler keeps the exception "for the report",
with its traceback, whose frames keep the connection."""

import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import corpus

failures = []


def call(address, bad: bool) -> bytes:
    """A request on a connection of its own."""
    connection = socket.create_connection(address)
    connection.sendall(b"call\n")
    answer = connection.recv(512)
    if bad:
        raise ValueError(answer)
    connection.close()
    return answer


address = corpus.upstream(stay=True)
corpus.begin()
while corpus.beat(10):
    try:
        call(address, corpus.one_in(5))
    except ValueError as failure:
        failures.append(failure)
        corpus.held["call"] += 1
corpus.finish()
