"""Where and with what the corpus was run."""

import datetime
import os
from pathlib import Path

from machine import commit, first_match, package_version, version_of


def facts_of(root: Path) -> dict[str, str]:
    """Name and value of what the verdicts may depend on."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(root),
        "machine": first_match("/proc/cpuinfo", r"model name\s*: (.*)"),
        "CPUs": str(os.cpu_count()),
        "kernel": os.uname().release,
        "system": first_match("/etc/os-release", r'PRETTY_NAME="(.*)"'),
        "libc": package_version("libc6"),
        "gcc": version_of(["gcc", "--version"]),
        "rustc": version_of(["rustc", "--version"]),
        "python": version_of(["/usr/bin/python3", "--version"]),
        "node": version_of(["node", "--version"]),
        "load average at the start": " ".join(Path("/proc/loadavg").read_text().split()[:3]),
    }
