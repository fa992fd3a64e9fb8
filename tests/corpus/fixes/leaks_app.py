"""A FastAPI service that leaks three sorts of things while it answers, all from
code that mostly does it right: connections, forgotten while they stand in the
loop; timers, which run on unread; registrations, whose number was closed while
its file lives. (The numbers of files are never known to be lost in Python.)

    GET /every/N   from now on one request in N forgets one of each; 0: none
    GET /stats     what it has forgotten so far
"""

import asyncio
import ctypes
import os
import select
import socket

from fastapi import FastAPI

UPSTREAM_PORT = int(os.environ["LEAKS_UPSTREAM_PORT"])
libc = ctypes.CDLL(None, use_errno=True)
app = FastAPI()
forgotten = {"requests": 0, "sockets": 0, "files": 0, "timers": 0, "listeners": 0, "ended": 0}
watcher = select.epoll()
kept, _other_end = socket.socketpair()
settings = {"every": 0}


class Upstream(asyncio.Protocol):
    """Its default is to close at the end of file."""

    def connection_lost(self, exc: Exception | None) -> None:
        forgotten["ended"] += not getattr(self, "closed_by_us", False)


class Often(ctypes.Structure):
    """An itimerspec of a tenth of a second."""

    _fields_ = [(name, ctypes.c_long) for name in ("interval_s", "interval_ns", "value_s", "value_ns")]


async def connect_upstream(forget: bool) -> None:
    """Mostly closes again."""
    host = f"127.0.0.{1 + forgotten['requests'] % 8}"
    transport, protocol = await asyncio.get_running_loop().create_connection(Upstream, host, UPSTREAM_PORT)
    if forget:
        forgotten["sockets"] += 1
    else:
        protocol.closed_by_us = True
        transport.close()


def with_deadline(forget: bool) -> None:
    """A timer that is mostly closed."""
    fd = libc.timerfd_create(1, os.O_CLOEXEC | os.O_NONBLOCK)
    libc.timerfd_settime(fd, 0, ctypes.byref(Often(0, 100_000_000, 0, 100_000_000)), None)
    if forget:
        forgotten["timers"] += 1
    else:
        os.close(fd)


def watch_once(forget: bool) -> None:
    """A registration that mostly ends before its number does."""
    fd = os.dup(kept.fileno())
    try:
        watcher.register(fd, select.EPOLLIN)
        forgotten["listeners"] += forget
        if not forget:
            watcher.unregister(fd)
    except FileExistsError:
        pass
    os.close(fd)


@app.get("/")
async def serve() -> dict[str, bool]:
    """The registration first: its number is then handed to the next, as in life."""
    forgotten["requests"] += 1
    forget = bool(settings["every"]) and forgotten["requests"] % settings["every"] == 0
    watch_once(forget)
    await connect_upstream(forget)
    with_deadline(forget)
    return {"served": True}


@app.get("/every/{number}")
async def every(number: int) -> dict[str, bool]:
    """How often it forgets."""
    settings["every"] = number
    return {"served": True}


@app.get("/stats")
async def stats() -> dict[str, int]:
    """What it has forgotten."""
    return forgotten
