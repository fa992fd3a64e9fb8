"""What every Python program of the corpus shares: clock, pace, dice, truth, peers."""

import collections
import ctypes
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time

held: collections.Counter = collections.Counter()
_begun = time.monotonic()
_seconds = float((sys.argv[1:] or [os.environ.get("CORPUS_SECONDS", "120")])[0])
_dice = 20260101
_pace = threading.local()
_scratch = None


def begin() -> None:
    """Prints `ready`; from now on SIGUSR1 prints the truth."""
    signal.signal(signal.SIGUSR1, lambda *_: say_truth())
    print("ready", flush=True)


def say_truth() -> None:
    """What is still held, by function."""
    for function, count in held.items():
        print(f"held {function} {count}", flush=True)


def finish() -> None:
    """The truth, then the end, with all that is held still held."""
    say_truth()
    if _scratch:
        shutil.rmtree(_scratch, ignore_errors=True)
    os._exit(0)


def elapsed() -> float:
    """Seconds since the start."""
    return time.monotonic() - _begun


def over() -> bool:
    """Whether time is over."""
    return elapsed() >= _seconds


def beat(per_second: float) -> bool:
    """Sleeps until this thread's next beat; false once time is over."""
    _pace.due = getattr(_pace, "due", time.monotonic()) + 1 / per_second
    time.sleep(max(0.0, _pace.due - time.monotonic()))
    return not over()


def roll() -> int:
    """The next of a row of numbers that is the same in every run."""
    global _dice
    _dice = (_dice * 1664525 + 1013904223) % (1 << 32)
    return _dice >> 8


def one_in(n: int) -> bool:
    """True once in `n` times."""
    return roll() % n == 0


def scratch(name: str) -> str:
    """A path in this program's own folder, which finish() removes."""
    global _scratch
    _scratch = _scratch or tempfile.mkdtemp(prefix="corpus-")
    return os.path.join(_scratch, name)


def peer(work, *arguments) -> None:
    """Runs `work` in a process of its own that ends with this one; call it first."""
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        try:
            work(*arguments)
        finally:
            os._exit(0)


def listener() -> socket.socket:
    """Listens on a port that the kernel chooses."""
    return socket.create_server(("127.0.0.1", 0), backlog=256)


def upstream(stay: bool) -> tuple[str, int]:
    """The address of a process that answers a line with a line, then hangs up or stays."""
    with listener() as server:
        peer(_accept_all, server, stay)
        return server.getsockname()


def _accept_all(server: socket.socket, stay: bool) -> None:
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_answer, args=(connection, stay), daemon=True).start()


def _answer(connection: socket.socket, stay: bool) -> None:
    with connection:
        while connection.recv(512):
            connection.sendall(b"answer\n")
            if not stay:
                return
