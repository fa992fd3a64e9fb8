"""Where and with what a run was measured, so that its figures mean something."""

import datetime
import os
import re
import subprocess
from pathlib import Path

from services import postgres_programs


def first_match(path: str, pattern: str) -> str:
    """The first group of a pattern in a file."""
    found = re.search(pattern, Path(path).read_text())
    return found[1].strip() if found else "unknown"


def version_of(command: list[str]) -> str:
    """The first line with a digit that a program prints about its version."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if re.search(r"\d", line)]
    return lines[0] if lines else "unknown"


def package_version(name: str) -> str:
    """A Debian package's version."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True, check=False)
    return done.stdout or "unknown"


def commit(root: Path) -> str:
    """What was built, marked when the tree had changes."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def description(root: Path) -> dict[str, str]:
    """Name and value of everything worth knowing."""
    python = "import fastapi, uvicorn, uvloop, flask; print(fastapi.__version__, uvicorn.__version__, uvloop.__version__, flask.__version__)"
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(root),
        "machine": first_match("/proc/cpuinfo", r"model name\s*: (.*)"),
        "CPUs": str(os.cpu_count()),
        "memory": f"{int(first_match('/proc/meminfo', r'MemTotal: *([0-9]+)')) >> 20} GiB",
        "virtual machine": "yes" if " hypervisor" in Path("/proc/cpuinfo").read_text() else "no",
        "kernel": os.uname().release,
        "system": first_match("/etc/os-release", r'PRETTY_NAME="(.*)"'),
        "libc": package_version("libc6"),
        "rustc": version_of(["rustc", "--version"]),
        "gcc": version_of(["gcc", "--version"]),
        "nginx": version_of(["nginx", "-v"]),
        "redis": version_of(["redis-server", "--version"]),
        "postgres": version_of([str(postgres_programs() / "postgres"), "--version"]),
        "python": version_of(["/usr/bin/python3", "--version"]),
        "fastapi, uvicorn, uvloop, flask": version_of(["/usr/bin/python3", "-c", python]),
        "gunicorn": package_version("gunicorn"),
        "node": version_of(["node", "--version"]),
        "wrk": package_version("wrk"),
        "sqlite3": package_version("sqlite3"),
        "perl": package_version("perl"),
        "jemalloc": package_version("libjemalloc2"),
        "gperftools": package_version("libgoogle-perftools4"),
        "heaptrack": package_version("heaptrack"),
        "niceness of the benchmark": str(os.nice(0)),
        "load average at the start": " ".join(Path("/proc/loadavg").read_text().split()[:3]),
    }
