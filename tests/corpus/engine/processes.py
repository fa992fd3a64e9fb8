"""Processes by number and start time: the kernel gives numbers out again."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """One process for good."""

    pid: int
    started: int


def fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, what follows the name; nothing if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def process(pid: int) -> Process | None:
    """What runs under that number now; a dead one that nobody fetched does not."""
    found = fields(pid)
    return Process(pid, int(found[19])) if found and found[0] not in "ZX" else None


def lives(one: Process) -> bool:
    """Whether it is still the same."""
    return process(one.pid) == one


def cpu_s(one: Process) -> float | None:
    """The CPU time that it took so far."""
    found = fields(one.pid)
    if not found or int(found[19]) != one.started:
        return None
    return (int(found[11]) + int(found[12])) / TICKS_PER_S


def family(first: Process) -> list[Process]:
    """A process and all that descend from it."""
    children = defaultdict(list)
    for name in os.listdir("/proc"):
        if name.isdigit() and (found := fields(int(name))) and found[0] not in "ZX":
            children[int(found[1])].append(Process(int(name), int(found[19])))
    all_of_them, at = [first] if lives(first) else [], 0
    while at < len(all_of_them):
        all_of_them += children[all_of_them[at].pid]
        at += 1
    return all_of_them


def title(one: Process) -> str:
    """Its command line."""
    try:
        return Path(f"/proc/{one.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
