"""Runs the corpus under the library and compares reports with what is expected.

Exit status: 0 all as expected; 1 not, with a line for each; 2 wrong usage.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# The benchmark's description of a machine, and its servers.
sys.path.append(str(ROOT / "bench" / "engine"))

from building import Build
from corpus_page import failure_lines, healthy_table, leaky_table, learned_table, page, summary
from facts import facts_of
from judging import Judgement, judge
from manifest import Case, load
from trial import Runner

QUICK_SECONDS = 40


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/corpus", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"a few programs, {QUICK_SECONDS} s each, less than two minutes in all")
    parser.add_argument("--only", action="append", metavar="NAME", help="this program only; may be repeated")
    parser.add_argument("--group", choices=["leaky", "healthy"], help="these only")
    parser.add_argument("--seconds", type=float, metavar="N", help="how long each runs (120; longer where it has to)")
    parser.add_argument("--every", type=float, default=5, metavar="N", help="seconds between two reports (5)")
    parser.add_argument("--jobs", type=int, default=8, metavar="N", help="programs at a time (8)")
    parser.add_argument("--once", action="store_true", help="only the first run of each, without the one with learned state")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the page there, as docs/CORPUS.md")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Case]:
    """The programs that were asked for, the longest first."""
    cases = load()
    unknown = set(options.only or []) - {case.name for case in cases}
    if unknown:
        raise SystemExit(f"corpus: there is no program {', '.join(sorted(unknown))}; tests/corpus/manifest.toml lists them.")
    cases = [case for case in cases if not options.only or case.name in options.only]
    cases = [case for case in cases if not options.group or case.group == options.group]
    cases = [case for case in cases if case.quick or not options.quick]
    return sorted(cases, key=lambda case: -seconds_of(case, options))


def seconds_of(case: Case, options: argparse.Namespace) -> float:
    """How long it runs: as asked for, or as long as it has to."""
    if options.seconds:
        return options.seconds
    return QUICK_SECONDS if options.quick else max(120, case.minimum_seconds)


def twice(case: Case, options: argparse.Namespace) -> bool:
    """Whether it runs again with what memguard learned; of the quick ones, what that is for."""
    return not options.once and (case.bounded or not options.quick)


def run_all(runner: Runner, cases: list[Case], options: argparse.Namespace, learned: bool = False) -> list[Judgement]:
    """Several at a time: they mostly sleep. In the order of the tables."""
    judgements = []
    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = [pool.submit(runner.run, case, seconds_of(case, options), learned) for case in cases]
        for done in as_completed(waiting):
            judgement = judge(done.result())
            judgements.append(judgement)
            runner.keep(done.result())
            state = "not as expected" if judgement.failures else "as expected"
            run = "learned, " if learned else ""
            print(f"corpus: {judgement.case.name}: {run}{judgement.got}, {state}", file=sys.stderr, flush=True)
    return sorted(judgements, key=lambda one: (not one.case.leaky, one.case.language, one.case.name))


def main() -> int:
    """The whole run."""
    options = arguments()
    cases = chosen(options)
    # Before the run: whatever is missing shows now, and not after half an hour.
    facts = facts_of(ROOT) | {"programs at a time": str(options.jobs)}
    build = Build(ROOT / "target" / "corpus")
    build.compile(cases)
    skipped = build.install(cases)
    release = ROOT / "target" / "release"
    runner = Runner(build, release / "memguard", release / "libmemguard.so", options.every)
    cases = [case for case in cases if case.name not in skipped]
    judgements = run_all(runner, cases, options)
    learned = run_all(runner, [case for case in cases if twice(case, options)], options, learned=True)
    print("\n".join([leaky_table(judgements), healthy_table(judgements), summary(judgements), learned_table(judgements, learned)]))
    if options.output:
        options.output.write_text(page(judgements, learned, skipped, facts, options.every))
    failed = failure_lines(judgements + learned, skipped)
    for line in failed:
        print(f"corpus: {line}", file=sys.stderr)
    passed = sum(not one.failures for one in judgements + learned)
    print(f"{passed} passed, {len(judgements + learned) - passed} failed, {len(skipped)} skipped")
    return 1 if failed else 0


sys.exit(main())
