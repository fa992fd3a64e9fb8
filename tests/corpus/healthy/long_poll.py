"""A long-poll server: a request waits for up to twenty seconds for news. Forty
clients ask again at once; news comes to a few of them at a time."""

import os
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import corpus

threading.stack_size(256 * 1024)
news = threading.Condition()


def poll_for_ever(address) -> None:
    """One client: a connection for each poll."""
    while True:
        with socket.create_connection(address) as connection:
            connection.sendall(b"poll\n")
            connection.recv(64)


def run_clients(address) -> None:
    """In a process of its own."""
    for _ in range(40):
        threading.Thread(target=poll_for_ever, args=(address,), daemon=True).start()
    threading.Event().wait()


def answer(connection: socket.socket) -> None:
    """Waits for news, or for twenty seconds."""
    with connection:
        connection.recv(64)
        with news:
            news.wait(20)
        connection.sendall(b"news\n")
    corpus.held["accept_all"] -= 1


def accept_all(listener: socket.socket) -> None:
    """A thread for each poll."""
    while True:
        connection, _ = listener.accept()
        corpus.held["accept_all"] += 1
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


listener = corpus.listener()
corpus.peer(run_clients, listener.getsockname())
threading.Thread(target=accept_all, args=(listener,), daemon=True).start()
corpus.begin()
while corpus.beat(1):
    with news:
        news.notify(1 + corpus.roll() % 3)
corpus.finish()
