"""A control group around a group of processes: their CPU and memory, dead ones included.

A server's children come and go (a database forks one for each connection);
only the kernel's own sum over the group misses none of them. Version 1 and 2
of the interface are both understood, since `cpu.stat` of version 2 needs no
controller to be switched on.
"""

import os
import signal
import time
from pathlib import Path


class NoControlGroup(Exception):
    """No control group can be made here; the sentence says what to do."""


def mounts(kind: str, option: str = "") -> list[Path]:
    """Where control groups of this version (and controller) are mounted."""
    found = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, filesystem, options = line.split()[:4]
        if filesystem == kind and (not option or option in options.split(",")):
            found.append(Path(place))
    return found


def cpu_interfaces() -> list[tuple[Path, str]]:
    """(mount, file with the group's CPU time), the best first."""
    second = [(place, "cpu.stat") for place in mounts("cgroup2")]
    return second + [(place, "cpuacct.usage") for place in mounts("cgroup", "cpuacct")]


def memory_interfaces() -> list[tuple[Path, str]]:
    """(mount, file with the group's charge in bytes)."""
    second = [(place, "memory.current") for place in mounts("cgroup2")]
    return second + [(place, "memory.usage_in_bytes") for place in mounts("cgroup", "memory")]


class ControlGroup:
    """One group under the first mount that has the wanted file."""

    def __init__(self, name: str, interfaces: list[tuple[Path, str]]) -> None:
        self.folder, self.file = create(f"memguard-bench-{os.getpid()}-{name}", interfaces)

    def enter_command(self, command: list[str]) -> list[str]:
        """A command that joins the group before it becomes `command`."""
        return ["/bin/sh", "-c", 'echo $$ >"$0"; exec "$@"', str(self.folder / "cgroup.procs"), *command]

    def cpu_ns(self) -> int:
        """User and system time of all processes so far."""
        text = (self.folder / self.file).read_text()
        if self.file == "cpu.stat":
            return 1000 * int(text.split("usage_usec", 1)[1].split()[0])
        return int(text)

    def charge_bytes(self) -> int:
        """Memory charged to the group now."""
        return int((self.folder / self.file).read_text())

    def pids(self) -> list[int]:
        """Processes in the group."""
        return [int(pid) for pid in (self.folder / "cgroup.procs").read_text().split()]

    def remove(self) -> None:
        """Ends whatever is left in the group, then removes it."""
        for _ in range(200):
            for pid in self.pids():
                os.kill(pid, signal.SIGKILL)
            try:
                self.folder.rmdir()
                return
            except OSError:
                time.sleep(0.02)


def create(name: str, interfaces: list[tuple[Path, str]]) -> tuple[Path, str]:
    """Makes the group's folder where its file appears."""
    for mount, file in interfaces:
        folder = mount / name
        try:
            folder.mkdir()
        except OSError:
            continue
        if (folder / file).exists():
            return folder, file
        folder.rmdir()
    raise NoControlGroup("no control group can be made here; run scripts/bench as root on a machine with /sys/fs/cgroup.")
