"""Fixes servers that leak while they are asked, round after round, and counts in /proc.

What was fixed is what the server says it forgot, less what the kernel shows it
still holds. Exit status: 0 as many as asked for and no harm; 1 else, with a line for each.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "bench" / "engine"))

from corpus_page import table
from fixing import Fixed, Fixer
from leaking import SORTS, Leaking, Sort, Wrk
from variants import public_copy

AGE = "5s"
# One request in so many forgets while a fix runs: a leak does not wait.
MEANWHILE = 40
# A server that has nothing to do takes less of a processor.
IDLE_SHARE = 0.2
HAVE_TO_SETTLE_S = 8


@dataclass
class Outcome:
    """What came of one server."""

    sort: Sort
    forgot: Counter = field(default_factory=Counter)
    baseline: Counter = field(default_factory=Counter)
    held: Counter = field(default_factory=Counter)
    said: Fixed = field(default_factory=Fixed)
    rounds: int = 0
    stopped: list[str] = field(default_factory=list)
    wrk: dict = field(default_factory=dict)
    idle_share: float = 0.0
    alive: bool = False
    surprises: int = 0
    longest: dict[str, float] = field(default_factory=dict)

    @property
    def fixed(self) -> Counter:
        """By kind, from the server's count and the kernel's."""
        return Counter({kind: self.forgot[kind] - self.held[kind] + self.baseline[kind] for kind in self.sort.kinds})

    def failures(self, count: int, least: int) -> list[str]:
        """What must not be."""
        lines = [f"it was stopped: {why}" for why in self.stopped]
        if self.fixed.total() < count:
            lines.append(f"{self.fixed.total()} fixes of {count}")
        lines += [f"{self.fixed[kind]} {kind} fixed, fewer than {least}" for kind in self.sort.kinds if self.fixed[kind] < least]
        left = {kind: self.held[kind] - self.baseline[kind] for kind in ("sockets", "listeners")}
        lines += [f"{n} {kind} are left, though nothing kept them" for kind, n in left.items() if n > 0]
        if self.wrk.get("failed", 1) or not self.wrk.get("done"):
            lines.append(f"of {self.wrk.get('done')} requests {self.wrk.get('failed')} failed")
        if not self.alive:
            lines.append("it ended")
        if self.idle_share > IDLE_SHARE:
            lines.append(f"it takes {self.idle_share:.0%} of a processor with nothing to do")
        if self.surprises:
            lines.append(f"{self.surprises} registrations in use were taken from it")
        return lines


class Rounds:
    """Leak, fix, count, until enough is fixed."""

    def __init__(self, server: Leaking, fixer: Fixer, rate: str, batch: int) -> None:
        self.server, self.fixer, self.rate, self.batch = server, fixer, rate, batch
        self.outcome = Outcome(server.sort)

    def run(self, count: int, least: int, minutes: float) -> Outcome:
        """All rounds, and a last look with nothing going on."""
        out, server = self.outcome, self.server
        out.baseline = server.held()
        load = Wrk(server, int(minutes * 60) + 600)
        time.sleep(2)
        out.longest["before"] = server.stats().get("longest_alone_ns", 0) / 1e6
        end_at = time.monotonic() + minutes * 60
        while server.alive() and time.monotonic() < end_at and not self.enough(count, least):
            self.leak()
            self.fix()
        server.forget(0)
        self.clean_up(end_at + 120)
        time.sleep(2)
        out.wrk, out.alive = load.stop(), server.alive()
        time.sleep(1)
        self.count()
        out.idle_share = server.cpu_share(3)
        return out

    def enough(self, count: int, least: int) -> bool:
        """Whether all is fixed that was asked for."""
        fixed = self.outcome.fixed
        return fixed.total() >= count and all(fixed[kind] >= least for kind in self.outcome.sort.kinds)

    def leak(self) -> None:
        """Until there is a batch of the slowest kind, and it is old enough."""
        before = self.server.stats()["sockets"]
        self.server.forget(self.server.sort.every)
        while self.server.stats()["sockets"] < before + self.batch:
            time.sleep(0.25)
        self.server.forget(MEANWHILE)
        time.sleep(6)

    def fix(self) -> int:
        """One run; how many it says it fixed."""
        self.server.stats()
        plan = self.fixer.fix(self.server.pid, "--min-age", AGE, "--close-lost", "--rate", self.rate)
        if plan is None:
            self.outcome.stopped.append("memguard said nothing")
            return 0
        before = len(self.outcome.said.touched)
        self.outcome.said.add(self.server.pid, plan)
        if plan["stopped"]:
            self.outcome.stopped.append(plan["stopped"])
        self.outcome.rounds += 1
        self.count()
        return len(self.outcome.said.touched) - before

    def clean_up(self, end_at: float) -> None:
        """With no more leaks: until a run finds nothing to do, three at the most."""
        for _ in range(3):
            time.sleep(HAVE_TO_SETTLE_S)
            if time.monotonic() > end_at or not self.fix():
                return

    def count(self) -> None:
        """What the server says, then what the kernel shows: what is forgotten in between counts as held."""
        out, stats = self.outcome, self.server.stats()
        out.forgot = Counter({kind: stats[kind] for kind in out.sort.kinds})
        out.held = self.server.held()
        out.surprises = stats.get("surprises", 0)
        if "longest_alone_ns" in stats:
            longest = stats["longest_alone_ns"] / 1e6
            out.longest["with fixes"] = max(out.longest.get("with fixes", 0.0), longest)
        print(f"fixes: {out.sort.name}: round {out.rounds}, {dict(out.fixed)} fixed", file=sys.stderr, flush=True)


def fixes_table(all_of_them: list[Outcome]) -> str:
    """A line for each kind of each server."""
    head = ["server", "kind", "forgotten", "still held", "fixed, by /proc"]
    rows = []
    for one in all_of_them:
        for kind in one.sort.kinds:
            held = one.held[kind] - one.baseline[kind]
            rows.append([one.sort.name, kind, str(one.forgot[kind]), str(held), str(one.fixed[kind])])
    return table(head, rows)


def harm_table(all_of_them: list[Outcome]) -> str:
    """A line for each server."""
    head = ["server", "rounds", "requests", "failed", "slowest", "restarts", "CPU when idle", "descriptors", "longest step, ms"]
    rows = []
    for one in all_of_them:
        longest = "; ".join(f"{ms:.2f} {when}" for when, ms in one.longest.items()) if one.sort.name == "c" else "-"
        descriptors = f"{one.baseline['descriptors']} -> {one.held['descriptors']}"
        harm = [str(one.wrk.get("done")), str(one.wrk.get("failed")), one.wrk.get("slowest", "?"), "0" if one.alive else "1"]
        rows.append([one.sort.name, str(one.rounds), *harm, f"{one.idle_share:.1%}", descriptors, longest])
    return table(head, rows)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/fixes", description=__doc__.splitlines()[0])
    names = [sort.name for sort in SORTS]
    parser.add_argument("--server", action="append", choices=names, help="this server only; may be repeated")
    parser.add_argument("--count", type=int, default=25_000, help="fixes on each server (25000)")
    parser.add_argument("--least", type=int, default=2000, help="of each kind at least (2000)")
    parser.add_argument("--batch", type=int, default=2000, help="of each kind forgotten in a round (2000)")
    parser.add_argument("--rate", default="unlimited", help="fixes a second (unlimited)")
    parser.add_argument("--minutes", type=float, default=20, help="at most for each server (20)")
    parser.add_argument("--quick", action="store_true", help="150 of each kind on the C server, two minutes")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the tables there too")
    options = parser.parse_args()
    if options.quick:
        options.server, options.count, options.least, options.batch, options.minutes = ["c"], 450, 100, 150, 2
    return options


def main() -> int:
    """One server after the other."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    outcomes, failed = [], []
    for sort in SORTS:
        if options.server and sort.name not in options.server:
            continue
        with tempfile.TemporaryDirectory(prefix="memguard-fixes-") as name:
            folder = Path(name)
            release = ROOT / "target" / "release"
            server = Leaking(sort, Path(public_copy(release / "libmemguard.so", folder)), folder)
            try:
                fixer = Fixer(Path(public_copy(release / "memguard", folder)), folder / "state", server.segments)
                outcome = Rounds(server, fixer, options.rate, options.batch).run(options.count, options.least, options.minutes)
            finally:
                server.stop()
        outcomes.append(outcome)
        failed += [f"{sort.name}: {line}" for line in outcome.failures(options.count, options.least)]
        said = json.dumps({str(key): value for key, value in outcome.said.outcomes.items()})
        refused = json.dumps(dict(outcome.said.refused_by.most_common()))
        print(f"fixes: {sort.name}: memguard says {said}; gates shut: {refused}", file=sys.stderr)
    text = fixes_table(outcomes) + "\n" + harm_table(outcomes)
    print(text)
    if options.output:
        options.output.write_text(text)
    for line in failed:
        print(f"fixes: {line}", file=sys.stderr)
    print(f"{sum(one.fixed.total() for one in outcomes)} fixes on {len(outcomes)} servers, {len(failed)} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
