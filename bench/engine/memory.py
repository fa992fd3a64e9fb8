"""What it costs in memory: resident set and control group charge of waiting programs."""

import subprocess
import time
from pathlib import Path
from typing import Callable

from cases import Case, one_by_one
from cgroup import ControlGroup, memory_interfaces
from running import BARE, Failed
from variants import Variant, Variants

MIB = 1 << 20
Probe = Callable[[int, ControlGroup], float]


def cases(built: Path, variants: Variants, heap_mib: int) -> list[Case]:
    """An almost empty program, and one with a big heap of small blocks."""
    sleep, heap = ["/bin/sleep", "60"], [str(built / "big_heap"), str(heap_mib)]
    found = []
    for title, command in {"/bin/sleep": sleep, f"{heap_mib} MiB heap of small blocks": heap}.items():
        every = 1 if command is sleep else 2
        for what, probe in {"resident set": resident_mib, "control group charge": charge_mib}.items():
            measure = one_by_one(lambda variant, command=command, probe=probe: holding(command, variant, probe))
            found.append(Case(f"{title}, {what}", "memory", "MiB", variants.main, measure, every))
    return found


def holding(command: list[str], variant: Variant, probe: Probe) -> float:
    """Starts a program in its own group, waits until it stands, looks, ends it."""
    group = ControlGroup("memory", memory_interfaces())
    variables = [f"{name}={value}" for name, value in variant.environment.items()]
    child = subprocess.Popen(
        group.enter_command(["env", *variables, *command]),
        env=BARE.full_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        wait_until_it_stands(child, command)
        return probe(child.pid, group)
    finally:
        group.remove()
        child.communicate()


def wait_until_it_stands(child: subprocess.Popen, command: list[str]) -> None:
    """A heap says so itself; sleep is asleep after its start-up."""
    if "sleep" not in command[0]:
        if child.stdout.readline() != b"ready\n":
            raise Failed(f"{command[0]} could not build its heap")
        return
    end = time.monotonic() + 10
    while Path(f"/proc/{child.pid}/comm").read_text().strip() != "sleep":
        if time.monotonic() > end:
            raise Failed("/bin/sleep did not start within ten seconds")
        time.sleep(0.01)
    time.sleep(0.2)


def resident_mib(pid: int, _: ControlGroup) -> float:
    """VmRSS."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:", 1)[1].split()[0]) * 1024 / MIB


def charge_mib(_: int, group: ControlGroup) -> float:
    """What the kernel charges the group with: page tables and shared pages too."""
    return group.charge_bytes() / MIB
