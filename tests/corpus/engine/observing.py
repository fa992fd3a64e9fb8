"""What /proc shows of programs while fixes run on them: who lives, who spins, who holds locks."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from processes import Process, cpu_s, family, lives, title

# Of one core, and for so many looks in a row.
SPINS, LOOKS = 0.9, 4


def locks(folder: Path) -> set[tuple[str, ...]]:
    """The locks on files below a folder: kind, access, file, first and last byte. Not whose: a lock
    by flock(2) keeps the number of who took it, also when that one has ended."""
    inodes = set()
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                seen = os.stat(os.path.join(place, name))
                inodes.add(f"{os.major(seen.st_dev):02x}:{os.minor(seen.st_dev):02x}:{seen.st_ino}")
            except OSError:
                continue
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return {(line[1], line[3], *line[5:]) for line in lines if len(line) > 7 and line[5] in inodes}


def lasting_locks(folder: Path, looks: int = 5) -> set[tuple[str, ...]]:
    """Those that are there each time one looks."""
    found = locks(folder)
    for _ in range(looks):
        time.sleep(1)
        found &= locks(folder)
    return found


@dataclass
class Observed:
    """One program's processes: those that it began with must last, and none may spin."""

    first: Process
    lasting: dict[Process, str] = field(default_factory=dict)
    spent: dict[Process, tuple[float, float]] = field(default_factory=dict)
    busy: dict[Process, int] = field(default_factory=dict)
    most: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def begin(self, passing: str = "") -> None:
        """Takes down who is there, but for those with this word in their title."""
        named = {one: title(one) for one in family(self.first)}
        self.lasting = {one: name for one, name in named.items() if not passing or passing not in name}

    def look(self, spins: float = SPINS, looks: int = LOOKS) -> None:
        """One sample of all."""
        for one in [one for one in self.lasting if not lives(one)]:
            self.wrong.append(f"process {one.pid} ({self.lasting.pop(one)}) ended")
        now, spent = time.monotonic(), {}
        for one in family(self.first):
            if (taken := cpu_s(one)) is None:
                continue
            spent[one] = (now, taken)
            if one in self.spent:
                self.sample(one, (taken - self.spent[one][1]) / (now - self.spent[one][0]), spins, looks)
        self.spent = spent

    def sample(self, one: Process, share: float, spins: float, looks: int) -> None:
        """So much of a core since the last look."""
        self.most = max(self.most, share)
        self.busy[one] = self.busy.get(one, 0) + 1 if share >= spins else 0
        if self.busy[one] == looks:
            self.wrong.append(f"process {one.pid} ({title(one)}) spins: {share:.2f} of a core")
