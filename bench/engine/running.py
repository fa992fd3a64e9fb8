"""Runs one command to its end and says what it cost."""

import os
import subprocess
from pathlib import Path

from variants import Variant


class Failed(Exception):
    """A workload did not do its work: its number would mean nothing."""


BARE = Variant("bare")

# The measured side and the side that drives it, apart where there are two CPUs.
CPUS = sorted(os.sched_getaffinity(0))
SERVED, DRIVING = {CPUS[-1]}, {CPUS[0]}


def pinned(cpus: set[int] | None):
    """What the child does before exec: move to its CPUs."""
    return (lambda: os.sched_setaffinity(0, cpus)) if cpus else None


def output_of(command: list[str], variant: Variant, cpus: set[int] | None = None) -> str:
    """Standard output of a command under a variant."""
    done = subprocess.run(
        command, env=variant.full_environment(), capture_output=True, text=True, preexec_fn=pinned(cpus), timeout=600
    )
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)} under {variant.name}: status {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def cpu_seconds(command: list[str], variant: Variant, stdin: Path | None = None) -> float:
    """User and system time of a command and all children it waited for."""
    with open(stdin or os.devnull, "rb") as source, open(os.devnull, "wb") as sink:
        child = subprocess.Popen(
            command, env=variant.full_environment(), stdin=source, stdout=sink, stderr=subprocess.PIPE, preexec_fn=pinned(SERVED)
        )
        errors = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise Failed(f"{' '.join(command)} under {variant.name}: status {child.returncode}: {errors.decode()[-500:]}")
    return usage.ru_utime + usage.ru_stime
