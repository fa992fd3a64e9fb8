"""Measures memguard's cost: interleaved, paired, beside the bare program and rivals.

Started by scripts/bench, which builds what this needs; see --help.
"""

import argparse
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import machine
import memory
import micro
import page
import programs
import serving
from cases import Case, Values
from cgroup import NoControlGroup
from running import Failed
from variants import Variant, Variants

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "target/bench/results.json"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures what memguard costs.")
    parser.add_argument("--quick", action="store_true", help="short loops and 6 pairs, under 5 minutes")
    parser.add_argument("--only", action="append", default=[], metavar="REGEX", help="only cases whose group or name matches")
    parser.add_argument("--pairs", type=int, help="rounds, each with one pair per case (15, quick: 6)")
    parser.add_argument("--minutes", type=float, help="no new round after this many minutes (38, quick: 4)")
    parser.add_argument("--library", type=Path, default=ROOT / "target/release/libmemguard.so", help="the library to measure")
    parser.add_argument("--output", type=Path, help="the page to write (full run: docs/BENCHMARKS.md, else only printed)")
    parser.add_argument("--keep", action="store_true", help="add to what the last run measured (target/bench/results.json)")
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    return parser.parse_args()


def all_cases(scratch: Path, options: argparse.Namespace) -> list[Case]:
    """Every case that --only lets through."""
    built = ROOT / "target/bench"
    variants = Variants(scratch, options.library, built / "libempty.so")
    quick = options.quick
    found = serving.cases(scratch, variants, 0.15 if quick else 0.3)
    found += programs.cases(built, scratch, variants, 0.1 if quick else 1.0)
    found += micro.cases(built, variants, 0.1 if quick else 1.0)
    found += memory.cases(built, variants, 1024)
    wanted = [re.compile(pattern) for pattern in options.only]
    return [case for case in found if not wanted or any(one.search(f"{case.group}: {case.name}") for one in wanted)]


def run(cases: list[Case], rounds: int, seconds: float) -> list[str]:
    """All rounds, or those that fit into the time; returns notes for the page."""
    start, longest, notes = time.monotonic(), 0.0, []
    for number in range(rounds):
        began = time.monotonic()
        if began + longest > start + seconds:
            return [*notes, f"Stopped after {number} of {rounds} rounds: the time was up."]
        for case in cases:
            if case.is_due(number):
                progress(number, rounds, case, began - start)
                notes += try_round(case, number)
        longest = max(longest, time.monotonic() - began)
    return notes


def try_round(case: Case, number: int) -> list[str]:
    """A round that fails is named on the page; the others go on."""
    try:
        case.run_round(number)
        return []
    except Failed as problem:
        return [f"**Failed**: {case.group}: {case.name}, round {number + 1}: {problem}"]


def progress(number: int, rounds: int, case: Case, seconds: float) -> None:
    """One line on stderr, written over on a terminal."""
    end = "\r" if sys.stderr.isatty() else "\n"
    text = f"round {number + 1}/{rounds} {seconds / 60:.1f} min  {case.group}: {case.name}"
    print(f"{text:<100}", end=end, file=sys.stderr, flush=True)


def save(cases: list[Case], described: dict[str, str], notes: list[str]) -> None:
    """Every single value, for whoever wants to compute otherwise."""
    raw = [{"group": case.group, "name": case.name, "unit": case.unit, "rounds": case.rounds} for case in cases]
    RESULTS.write_text(json.dumps({"machine": described, "notes": notes, "cases": raw}, indent=1) + "\n")


def kept(cases: list[Case]) -> tuple[list[Case], list[str]]:
    """Adds the last run's rounds to these cases; its other cases, and its notes."""
    last = json.loads(RESULTS.read_text())
    mine = {(case.group, case.name): case for case in cases}
    older = [Case(one["name"], one["group"], one["unit"], [], no_measure, rounds=one["rounds"]) for one in last["cases"]]
    for one in older:
        if (one.group, one.name) in mine:
            mine[(one.group, one.name)].rounds[:0] = one.rounds
    found, groups = last["machine"], ", ".join(dict.fromkeys(case.group for case in older))
    note = f"Rounds of an earlier run are among these: {groups} ({found['date']}, commit {found['commit']})."
    return [one for one in older if (one.group, one.name) not in mine], [*last["notes"], note]


def no_measure(_: list[Variant]) -> Values:
    """A case of an earlier run is not measured again."""
    raise Failed("a case of an earlier run cannot be measured again")


def write_page(text: str, options: argparse.Namespace) -> None:
    """Into the file of a full run, and always to standard output."""
    full = not (options.quick or options.only)
    target = options.output or (ROOT / "docs/BENCHMARKS.md" if full else None)
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    print(text)


def main() -> int:
    """One run."""
    options = arguments()
    # Whoever ends this by TERM ends the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rounds = options.pairs or (6 if options.quick else 15)
    seconds = 60 * (options.minutes or (4 if options.quick else 38))
    scratch = Path(tempfile.mkdtemp(prefix="memguard-bench-"))
    os.chmod(scratch, 0o755)
    try:
        cases = all_cases(scratch, options)
        if options.list:
            print("\n".join(f"{case.group}: {case.name}" for case in cases))
            return 0
        described = machine.description(ROOT)
        notes = run(cases, rounds, seconds)
        if options.keep:
            older, older_notes = kept(cases)
            cases, notes = cases + older, older_notes + notes
        save(cases, described, notes)
        write_page(page.page(cases, described, " ".join(["scripts/bench", *sys.argv[1:]]), notes), options)
        return 0
    except (Failed, NoControlGroup) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


sys.exit(main())
