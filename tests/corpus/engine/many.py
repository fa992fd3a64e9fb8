"""One fix of ten thousand sockets at once, as fast as it goes: how long it takes and where the time goes.

A C epoll server has forgotten them while they stand in its loop, and is asked
at a gentle pace. Exit status: 0 all are closed by their owner and no request
failed; 1 else, with a line for each. Times are printed, none is judged.
"""

import argparse
import resource
import signal
import subprocess
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
from leaking import Leaking, QuickUpstream, Sort, Wrk, most_descriptors
from proxied import agree
from variants import public_copy

AGE_S = 5
SORT = Sort("c", 8, 12, 3, ("sockets", "files", "timers", "listeners"))
# While it leaks it is asked faster: 16 connections at this pace.
LEAK_DELAY_MS = 3
# Of which one request in so many forgets; and while it is fixed: a leak does not wait.
EVERY, MEANWHILE = 3, 20
# For what a server and its clients need besides.
SPARE = 1500
WATCHED_S = 11


@dataclass
class Seen:
    """What is seen of the server over a stretch of time."""

    longest_ms: float
    # Whatever else had the processor meanwhile.
    longest_with_others_ms: float
    wrk: dict
    seconds: float


@dataclass
class Outcome:
    """What came of it."""

    plan: dict
    whole_s: float
    cpu_s: float
    quiet: Seen
    fixing: Seen
    before: Counter = field(default_factory=Counter)
    after: Counter = field(default_factory=Counter)
    # Forgotten since the last of those that were to be fixed.
    young: int = 0
    alive: bool = False

    def failures(self) -> list[str]:
        """What must not be."""
        lines = [f"it was stopped: {self.plan['stopped']}"] if self.plan.get("stopped") else []
        if self.after["sockets"] > self.young:
            lines.append(f"{self.after['sockets']} sockets are left, of which {self.young} are young")
        for when, seen in (("before", self.quiet), ("with the fix", self.fixing)):
            if seen.wrk["failed"] or not seen.wrk["done"]:
                lines.append(f"{when}, of {seen.wrk['done']} requests {seen.wrk['failed']} failed")
        return lines if self.alive else [*lines, "the server ended"]


def leak(server: Leaking, count: int, what: str) -> int:
    """At least so many connections, and of the rest as many; how many are old enough to be fixed."""
    load = Wrk(server, 600, 16, LEAK_DELAY_MS)
    server.forget(EVERY, what)
    while server.stats()["sockets"] < count and server.alive():
        time.sleep(0.1)
    server.forget(MEANWHILE, what)
    load.stop()
    forgotten = server.stats()["sockets"]
    load = Wrk(server, 600)
    time.sleep(AGE_S + 1)
    load.stop()
    return forgotten


def seen_while(server: Leaking, work) -> tuple[Seen, object]:
    """What clients and the loop itself see while something is done."""
    load, began_at = Wrk(server, 600), time.monotonic()
    time.sleep(0.5)
    server.stats()
    done = work()
    stats = server.stats()
    wrk = load.stop()
    return Seen(stats["longest_alone_ns"] / 1e6, stats["longest_ns"] / 1e6, wrk, time.monotonic() - began_at), done


def fix(fixer: Fixer, server: Leaking, arguments: list[str]) -> tuple[dict, float, float]:
    """One run: its plan, the time it took, the processor time."""
    before, began_at = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    plan = fixer.fix(server.pid, "--min-age", f"{AGE_S}s", *arguments)
    after, whole_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - began_at
    if plan is None:
        raise SystemExit("many: memguard said nothing")
    return plan, whole_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(folder: Path, options: argparse.Namespace) -> Outcome:
    """Leak, watch, fix, count."""
    release = ROOT / "target" / "release"
    server = Leaking(SORT, Path(public_copy(release / "libmemguard.so", folder)), folder, QuickUpstream(folder))
    kinds = ["--kind", options.kind] if options.kind else []
    try:
        fixer = Fixer(Path(public_copy(release / "memguard", folder)), folder / "state", server.segments, before=options.before)
        old = leak(server, options.count, "every" if options.mixed else "sockets")
        # It leaks in bursts, which statistics do not call a leak.
        agree(fixer, server.pid, server.upstream.port)
        before = server.held()
        quiet, _ = seen_while(server, lambda: time.sleep(WATCHED_S))
        fixing, (plan, whole_s, cpu_s) = seen_while(server, lambda: fix(fixer, server, [*kinds, "--rate", options.rate, *options.arguments]))
        young = server.stats()["sockets"] - old
        return Outcome(plan, whole_s, cpu_s, quiet, fixing, before, server.held(), young, server.alive())
    finally:
        server.stop()


def times_table(out: Outcome) -> str:
    """Where the time went, as memguard says, and what of it is acting."""
    took = out.plan.get("took") or {}
    rows = [[name.removesuffix("_ms").replace("_", " "), f"{value:.0f}"] for name, value in took.items() if isinstance(value, (int, float))]
    rows += [["the whole command", f"{out.whole_s * 1000:.0f}"], ["its processor time", f"{out.cpu_s * 1000:.0f}"]]
    return table(["time", "ms"], rows)


def steps_table(out: Outcome) -> str:
    """The ladder, step by step."""
    steps = (out.plan.get("took") or {}).get("steps", [])
    names = list(steps[0]) if steps else ["items"]
    return table([name.replace("_", " ") for name in names], [[f"{step[name]:.0f}" for name in names] for step in steps])


def server_table(out: Outcome) -> str:
    """What the server and its clients felt."""
    head = ["", "requests", "failed", "slowest answer", "longest step of the loop, ms", "also of those in which others had the processor, ms"]
    rows = []
    for when, seen in (("before", out.quiet), ("with the fix", out.fixing)):
        rows.append([when, str(seen.wrk["done"]), str(seen.wrk["failed"]), seen.wrk["slowest"], f"{seen.longest_ms:.2f}", f"{seen.longest_with_others_ms:.2f}"])
    return table(head, rows)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/fixes --many", description=__doc__.splitlines()[0])
    parser.add_argument("--many", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=10_500, help="connections that are forgotten (10500)")
    parser.add_argument("--mixed", action="store_true", help="as many files, timers and registrations besides")
    parser.add_argument("--kind", default="sockets", help="what to fix (sockets); empty: all kinds")
    parser.add_argument("--rate", default="unlimited", help="fixes a second (unlimited)")
    parser.add_argument("--before", action="append", default=[], metavar="WORD", help="a word before the command, as of a profiler; may be repeated")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the tables there too")
    options, options.arguments = parser.parse_known_args()
    return options


def room(options: argparse.Namespace) -> int:
    """How many may be forgotten: a process has no more descriptors than that."""
    most_descriptors()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE
    # Of each connection a file and a timer besides, also of those that are forgotten meanwhile.
    return min(options.count, most // 4 if options.mixed else most)


def main() -> int:
    """One server, one fix."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    options.count = room(options)
    with tempfile.TemporaryDirectory(prefix="memguard-many-") as name:
        out = run(Path(name), options)
    said = Fixed()
    said.add(0, out.plan)
    counted = [[kind, str(out.before[kind]), str(out.after[kind])] for kind in ("descriptors", *SORT.kinds)]
    text = "\n".join([table(["held, by /proc", "before", "after"], counted), times_table(out), steps_table(out), server_table(out)])
    print(text)
    if options.output:
        options.output.write_text(text)
    print(f"many: memguard says {dict(said.outcomes)}; gates shut: {dict(said.refused_by)}; {out.plan['notes']}", file=sys.stderr)
    failures = out.failures()
    for line in failures:
        print(f"many: {line}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
