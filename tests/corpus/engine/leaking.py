"""Servers that leak while they are asked, what they hold by /proc, and who asks them."""

import asyncio
import ctypes
import http.client
import json
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from serving import free_port

SOURCES = Path(__file__).resolve().parents[1] / "fixes"
# prctl(2): the signal that comes when whoever started it ends, however that ends.
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
PACE = """
function delay() return {milliseconds} end
"""


@dataclass(frozen=True)
class Sort:
    """A leaking server: how it is started and how fast it is asked."""

    name: str
    connections: int
    delay_ms: int
    # One request in so many forgets one of each.
    every: int
    # What of it is fixed.
    kinds: tuple[str, ...]

    def command(self, folder: Path, port: int, upstream: int) -> list[str]:
        """In a folder of its own."""
        if self.name == "c":
            program = folder / "leaks"
            subprocess.run(["gcc", "-O1", "-g", "-o", str(program), str(SOURCES / "leaks.c")], check=True)
            return [str(program), str(port), str(upstream)]
        loop = self.name.removeprefix("fastapi-")
        options = ["--app-dir", str(SOURCES), "--port", str(port), "--loop", loop, "--no-access-log", "--log-level", "warning"]
        return ["/usr/bin/python3", "-B", "-m", "uvicorn", "leaks_app:app", *options]


SORTS = [
    Sort("c", 8, 12, 3, ("sockets", "files", "timers", "listeners")),
    Sort("fastapi-asyncio", 8, 30, 2, ("sockets", "timers", "listeners")),
    Sort("fastapi-uvloop", 8, 30, 2, ("sockets", "timers", "listeners")),
]


class Upstream:
    """Accepts, and holds every connection until the other side ends it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.process = multiprocessing.Process(target=self.serve, daemon=True)
        self.process.start()

    def serve(self) -> None:
        """In a process of its own, so that the server's descriptors are only its own."""
        for_its_own()
        asyncio.run(self.listen())

    async def listen(self) -> None:
        """On all loopback addresses: one has too few ports."""
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "0.0.0.0", self.port, backlog=4096)
        await server.serve_forever()

    def stop(self) -> None:
        """With all connections."""
        self.process.kill()
        self.process.join(10)


class QuickUpstream(Upstream):
    """The same in C: a thousand ends at once cost the machine little."""

    def __init__(self, folder: Path) -> None:
        self.port, program = free_port(), folder / "upstream"
        subprocess.run(["gcc", "-O1", "-g", "-o", str(program), str(SOURCES / "upstream.c")], check=True)
        self.process = subprocess.Popen([str(program), str(self.port)], stdin=subprocess.DEVNULL, preexec_fn=for_its_own)

    def stop(self) -> None:
        """With all connections."""
        self.process.kill()
        self.process.wait(10)


class Leaking:
    """A leaking server under the library."""

    def __init__(self, sort: Sort, library: Path, folder: Path, upstream: Upstream | None = None) -> None:
        self.sort, self.folder, self.port = sort, folder, free_port()
        self.segments = folder / "segments"
        self.upstream = upstream or Upstream()
        # Whoever else is to end with it: the clients.
        self.started: list[subprocess.Popen] = []
        try:
            self.start(library)
        except BaseException:
            self.stop()
            raise

    def start(self, library: Path) -> None:
        """Until it answers."""
        environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "MEMGUARD_DIR": str(self.segments),
            "LEAKS_UPSTREAM_PORT": str(self.upstream.port),
        }
        self.process = subprocess.Popen(
            self.sort.command(self.folder, self.port, self.upstream.port),
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            preexec_fn=for_its_own,
        )
        self.started.append(self.process)
        self.wait()

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    def wait(self) -> None:
        """Until it answers."""
        end_at = time.monotonic() + 30
        while time.monotonic() < end_at:
            try:
                self.ask("/")
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"fixes: the server {self.sort.name} does not answer")

    def ask(self, path: str) -> bytes:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def forget(self, every: int, what: str = "every") -> None:
        """How often it forgets from now on; 0: never. The C server may forget `sockets` only."""
        self.ask(f"/{what}/{every}")

    def stats(self) -> dict:
        """What it says of itself."""
        return json.loads(self.ask("/stats"))

    def alive(self) -> bool:
        """The same process still."""
        return self.process.poll() is None

    def cpu_share(self, seconds: float) -> float:
        """How much of one processor it takes now."""
        before = cpu_seconds(self.pid)
        time.sleep(seconds)
        return (cpu_seconds(self.pid) - before) / seconds

    def held(self) -> Counter:
        """What the kernel shows of it, by sort; the registrations are those whose number is no more what they watch."""
        return held(self.pid, self.upstream.port)

    def stop(self) -> None:
        """Both sides, and clients that nobody stopped."""
        for process in reversed(self.started):
            process.kill()
            process.wait(10)
        self.upstream.stop()


def for_its_own() -> None:
    """Of a child before its program: as many descriptors as it may have, and no life without its parent."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    most_descriptors()


def most_descriptors() -> None:
    """As many as it may have."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def cpu_seconds(pid: int) -> float:
    """User and system time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def held(pid: int, upstream: int) -> Counter:
    """Counts of the process's objects, from /proc alone."""
    counts, inodes = Counter(), {}
    to_upstream = sockets_to(upstream)
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            inodes[int(fd)] = os.stat(f"/proc/{pid}/fd/{fd}").st_ino
        except OSError:
            continue
        counts["descriptors"] += 1
        counts["sockets"] += target.startswith("socket:") and inodes[int(fd)] in to_upstream
        counts["files"] += target.endswith("/settings")
        if "[timerfd]" in target:
            counts["timerfds"] += 1
            counts["timers"] += runs(pid, fd)
        elif "[eventpoll]" in target:
            counts["epolls"] += 1
    counts["listeners"] = stale(pid, inodes)
    return counts


def sockets_to(port: int) -> set[int]:
    """Inodes of sockets connected to that port, by the kernel's table."""
    wanted, found = f":{port:04X}", set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[2].endswith(wanted):
            found.add(int(words[9]))
    return found


def info(pid: int, fd: int | str) -> str:
    """What the kernel says of a descriptor."""
    try:
        return Path(f"/proc/{pid}/fdinfo/{fd}").read_text()
    except OSError:
        return ""


def runs(pid: int, fd: str) -> bool:
    """Whether a timer is set; one that ran out unread shows its period only."""
    found = re.findall(r"it_(?:value|interval): \((\d+), (\d+)\)", info(pid, fd))
    return any(pair != ("0", "0") for pair in found)


def stale(pid: int, inodes: dict[int, int]) -> int:
    """Registrations whose number is closed, or another file's."""
    count = 0
    for fd in inodes:
        for line in info(pid, fd).splitlines():
            if found := re.match(r"tfd:\s*(\d+).* ino:([0-9a-f]+)", line):
                count += inodes.get(int(found[1])) != int(found[2], 16)
    return count


class Wrk:
    """Requests at a steady pace on kept connections, by wrk."""

    def __init__(self, server: Leaking, seconds: int, connections: int = 0, delay_ms: int = 0) -> None:
        sort = server.sort
        script = server.folder / f"pace-{delay_ms}.lua"
        script.write_text(PACE.format(milliseconds=delay_ms or sort.delay_ms))
        options = ["-t", "1", "-c", str(connections or sort.connections), "-d", f"{seconds}s", "--timeout", "20s", "--latency"]
        command = ["wrk", *options, "-s", str(script), f"http://127.0.0.1:{server.port}/"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=for_its_own)
        server.started.append(self.process)

    def stop(self) -> dict:
        """Ends it and gives what it counted."""
        self.process.send_signal(signal.SIGINT)
        text = self.process.communicate(timeout=60)[0]
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
        wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        done = re.search(r"(\d+) requests in", text)
        longest = re.search(r"Latency\s+\S+\s+\S+\s+(\S+)", text)
        return {
            "done": int(done[1]) if done else 0,
            "failed": (sum(map(int, errors.groups())) if errors else 0) + (int(wrong[1]) if wrong else 0),
            "slowest": longest[1] if longest else "?",
        }
