"""All healthy servers at once under load: no report may call anything a leak.

With --fix the healthy programs of the corpus run beside them, and `memguard fix`
acts on all processes again and again: it may touch nothing, and no request may fail.
Exit status: 0 no leak and every server answered; 1 else, with a line for each.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "bench" / "engine"))

from attended import DEFAULT, SHORT, Alone, Attended, Loaded
from building import Build
from corpus_page import table
from fixing import Fixer
from manifest import load, rank
from servers import Server, servers
from variants import Variant, public_copy

# A program of the corpus runs on until it is ended.
SPARE_SECONDS = 600


def wait_until_they_answer(loaded: list[Loaded]) -> None:
    """Half a minute for each to listen."""
    end_at = time.monotonic() + 30
    for one in loaded:
        while time.monotonic() < end_at and one.server.client.ask_once(one.port, {}, None, 1):
            time.sleep(0.1)


def worst(verdicts: Counter) -> str:
    """The worst of what was seen, with how often."""
    name = max(verdicts, key=rank, default="none")
    return f"{name} ({verdicts[name]})" if verdicts else "none"


def verdict_table(everyone: list[Attended], minutes: float) -> str:
    """A line for each: what reports said."""
    head = ["program", "requests/s", "failed", "processes", "reports", "worst, default", "worst, short age", "leaks"]
    rows = []
    for one in everyone:
        seen = one.seen
        counts = [str(len(seen.processes)), str(seen.reports)]
        verdicts = [worst(seen.verdicts[age]) for age in (DEFAULT, SHORT)]
        rows.append([one.name, *requests(one, minutes), *counts, *verdicts, str(len(seen.leaks))])
    return table(head, rows)


def fix_table(everyone: list[Attended]) -> str:
    """A line for each: what fixes did."""
    head = ["program", "rounds", "runs of fix", "objects considered", "refused by", "touched", "memory given back"]
    rows = []
    for one in everyone:
        fixed = one.fixed
        refused = ", ".join(f"{gate} ({n})" for gate, n in fixed.refused_by.most_common()) or "-"
        rows.append([one.name, str(one.rounds), str(fixed.runs), str(fixed.considered), refused, str(len(fixed.touched)), str(fixed.given_back)])
    return table(head, rows)


def requests(one: Attended, minutes: float) -> list[str]:
    """Its rate and its failures, if anybody asks it."""
    if not isinstance(one, Loaded):
        return ["-", "-"]
    done, failed = one.counts
    return [f"{done / minutes / 60:.0f}", str(failed)]


class Rounds:
    """Fixes each program at its beat, and reports on all at another, until time is over."""

    def __init__(self, everyone: list[Attended], fixer: Fixer, options: argparse.Namespace) -> None:
        self.everyone, self.fixer, self.options = everyone, fixer, options
        # Memory that is free goes back only where it is asked for.
        self.more = [["--kind", "caches"]] if fixer.knows("fix", "caches") else []
        self.end_at = time.monotonic() + options.minutes * 60

    def run(self) -> None:
        """Until time is over. Each program has a thread: one that answers late holds up no other."""
        begun = time.monotonic()
        threads = [threading.Thread(target=self.attend, args=[one], daemon=True) for one in self.everyone]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(min(60, self.options.every))
                self.say((time.monotonic() - begun) / 60)

    def attend(self, one: Attended) -> None:
        """Fixes and reports on one program, each at its beat."""
        report_at, fix_at = time.monotonic() + self.options.every, time.monotonic()
        while one.process.poll() is None and time.monotonic() < self.end_at:
            if self.options.fix and time.monotonic() >= fix_at:
                fix_at = max(fix_at + self.options.fix_every, time.monotonic())
                self.fix(one)
            if time.monotonic() >= report_at:
                report_at = max(report_at + self.options.every, time.monotonic())
                one.look(self.fixer.memguard)
            due = min(report_at, fix_at if self.options.fix else report_at, self.end_at)
            time.sleep(max(0.0, due - time.monotonic()))
        one.look(self.fixer.memguard)

    def fix(self, one: Attended) -> None:
        """All kinds, by the built-in ages and by a short one in turn."""
        age = (DEFAULT, SHORT)[one.rounds % 2]
        for more in [[], *self.more]:
            one.fix(self.fixer, age, more)
        one.rounds += 1

    def say(self, minutes: float) -> None:
        """How it stands."""
        leaks = sum(len(one.seen.leaks) for one in self.everyone)
        touched = sum(len(one.fixed.touched) for one in self.everyone)
        runs = sum(one.fixed.runs for one in self.everyone)
        print(f"healthy: {minutes:.1f} minutes, {leaks} leaks, {runs} runs of fix, {touched} touched", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/healthy", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30, metavar="N", help="how long (30)")
    parser.add_argument("--every", type=float, default=60, metavar="N", help="seconds between two rounds of reports (60)")
    parser.add_argument("--fix", action="store_true", help="have `memguard fix --yes` act on everything, corpus included")
    parser.add_argument("--fix-every", type=float, default=10, metavar="N", help="seconds between two rounds of fixes (10)")
    parser.add_argument("--only", action="append", metavar="NAME", help="this server or program only; may be repeated")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the tables there too")
    return parser.parse_args()


def chosen_servers(names: list[str] | None) -> list[Server]:
    """The servers that were asked for."""
    known = servers()
    unknown = set(names or []) - {one.name for one in known} - {case.name for case in load()}
    if unknown:
        raise SystemExit(f"healthy: there is no server {', '.join(unknown)}; name some of {', '.join(one.name for one in known)}.")
    return [one for one in known if not names or one.name in names]


def start_programs(options: argparse.Namespace, folder: Path, under: Variant) -> list[Alone]:
    """The healthy half of the corpus."""
    cases = [case for case in load() if not case.leaky and (not options.only or case.name in options.only)]
    build = Build(ROOT / "target" / "corpus")
    build.compile(cases)
    build.install(cases)
    seconds = options.minutes * 60 + SPARE_SECONDS
    return [Alone(case, build, folder, under, seconds) for case in cases]


def start_servers(options: argparse.Namespace, folder: Path, under: Variant) -> list[Loaded]:
    """The servers, not yet driven."""
    return [Loaded(server, folder, under) for server in chosen_servers(options.only)]


def run(options: argparse.Namespace, folder: Path) -> tuple[list[Attended], list[str]]:
    """The whole run: who took part, and what must not be."""
    release = ROOT / "target" / "release"
    under = Variant("memguard", {"LD_PRELOAD": public_copy(release / "libmemguard.so", folder)})
    # A build meanwhile must not change what is measured; nor does an earlier run count.
    fixer = Fixer(Path(public_copy(release / "memguard", folder)), folder / "state" if options.fix else None)
    everyone: list[Attended] = []
    try:
        loaded = start_servers(options, folder, under)
        everyone += loaded
        wait_until_they_answer([one for one in loaded if one.name != "postgres"])
        everyone += start_programs(options, folder, under) if options.fix else []
        for one in loaded:
            one.drive(options.minutes * 60)
        Rounds(everyone, fixer, options).run()
        failed = [f"{one.name} {line}" for one in everyone for line in one.failures()]
        return everyone, failed
    finally:
        for one in everyone:
            one.stop()


def main() -> int:
    """The whole run and its tables."""
    options = arguments()
    # Whoever ends this by TERM ends the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="memguard-healthy-"))
    folder.chmod(0o755)
    everyone, failed = run(options, folder)
    text = verdict_table(everyone, options.minutes)
    if options.fix:
        text += "\n" + fix_table(everyone)
    print(text)
    if options.output:
        options.output.write_text(text)
    for line in failed:
        print(f"healthy: {line}", file=sys.stderr)
    if not failed:
        shutil.rmtree(folder, ignore_errors=True)
    leaks, touched = (sum(len(part) for part in parts) for parts in zip(*((one.seen.leaks, one.fixed.touched) for one in everyone)))
    print(f"{len(everyone)} programs, {options.minutes:g} minutes, {leaks} leaks, {touched} touched")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
