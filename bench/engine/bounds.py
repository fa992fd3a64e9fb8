"""What memguard promises, and whether a run shows it kept, broken or cannot tell.

`met` and `missed` need the interval's support; where the interval is wider than
the distance to the bound, the answer is `unresolved`, never `met`.
"""

from dataclasses import dataclass

from cases import Case, Values
from stats import Estimate, estimate, geometric_mean


@dataclass(frozen=True)
class Promise:
    """A figure, its bound and the words for it."""

    title: str
    unit: str
    bound: float
    found: Estimate
    # The interval's upper end may go this far (servers: 1.03 with a median of 1.01).
    interval_bound: float

    def verdict(self) -> str:
        """met, missed or unresolved."""
        found = self.found
        if found.low is None or found.high is None:
            return "unresolved (too few pairs)"
        if found.low > self.bound:
            return "**missed**"
        if found.high > self.interval_bound:
            return "unresolved"
        return "met" if found.median <= self.bound else "**missed** (median)"


def promise(title: str, unit: str, values: list[float], bound: float, interval_bound: float | None = None) -> Promise:
    """A promise about one value per round."""
    return Promise(title, unit, bound, estimate(values), bound if interval_bound is None else interval_bound)


def ratios(case: Case, variant: str = "memguard", base: str = "bare") -> list[float]:
    """variant / base of each round."""
    return [value / reference for value, reference in case.pairs(variant, base)]


def added(case: Case, variant: str = "memguard", base: str = "bare") -> list[float]:
    """variant - base of each round."""
    return [value - reference for value, reference in case.pairs(variant, base)]


# What is added to one operation: title of the micro case, unit shown, divisor, bound.
ADDED = [
    ("start of /bin/true, CPU", "ms", 1e6, 1.0),
    ("start of /bin/true, elapsed", "ms", 1e6, 1.0),
    ("open+close, 20 frames", "ns", 1.0, 250.0),
    ("open+close, 20 frames, inner 6 vary", "ns", 1.0, 250.0),
    ("open+close, 20 frames, outer 6 vary", "ns", 1.0, 250.0),
    ("/bin/sleep, resident set", "MiB", 1.0, 4.0),
    ("/bin/sleep, control group charge", "MiB", 1.0, 4.0),
]


def promises(cases: list[Case]) -> list[Promise]:
    """Every promise the finished cases say something about."""
    done = [case for case in cases if case.rounds and case.group != "rivals"]
    by_title = {case.name: case for case in done}
    found = [
        promise(f"{title}: added", unit, [value / divisor for value in added(by_title[title])], bound)
        for title, unit, divisor, bound in ADDED
        if title in by_title
    ]
    found += heap_promises(done)
    for case in (case for case in done if case.group == "servers"):
        found.append(promise(f"{case.name}: CPU per request", "x", ratios(case), 1.01, 1.03))
    for case in (case for case in done if case.group == "servers"):
        found.append(promise(f"{case.name}: at rate 0.01", "x", ratios(case, "memguard 0.01"), 1.03))
    return found + program_promises([case for case in done if case.group == "programs"])


def heap_promises(done: list[Case]) -> list[Promise]:
    """At most 4 MiB and 1 % of a big heap."""
    return [
        promise(f"{case.name}: added", "MiB", added(case), 4 + 0.01 * case.rounds[0]["bare"])
        for case in done
        if "heap of small blocks" in case.name
    ]


def program_promises(programs: list[Case]) -> list[Promise]:
    """The geometric mean, and each program against the empty interposer."""
    found = []
    if programs:
        rounds = min(len(case.rounds) for case in programs)
        means = [geometric_mean([ratio(case.rounds[i]) for case in programs]) for i in range(rounds)]
        found.append(promise("malloc-bound programs: geometric mean", "x", means, 1.03))
    for case in programs:
        points = [100 * (row["memguard"] - row["empty"]) / row["bare"] for row in case.rounds]
        found.append(promise(f"{case.name}: points above the empty interposer", "%", points, 2.0))
    return found


def ratio(row: Values) -> float:
    """memguard / bare of one round."""
    return row["memguard"] / row["bare"]
