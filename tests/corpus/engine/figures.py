"""Precision, recall and time to detect of a whole run."""

import statistics
from dataclasses import dataclass

from judging import Judgement

KINDS = ["files", "sockets", "pipes", "timers", "listeners", "threads", "memory", "mappings"]


@dataclass(frozen=True)
class Score:
    """Of one kind or of all. Precision and recall are shares; none where there is nothing."""

    name: str
    cases: int
    detected: int
    named: int
    true_leaks: int
    false_leaks: int
    median_s: dict[str, float]

    @property
    def recall(self) -> float | None:
        """Leaky programs at their tier with the right function."""
        return self.detected / self.cases if self.cases else None

    @property
    def precision(self) -> float | None:
        """Places called a leak that are one."""
        called = self.true_leaks + self.false_leaks
        return self.true_leaks / called if called else None


def score(name: str, judgements: list[Judgement], false_leaks: int) -> Score:
    """Of these programs; what is beyond the tool does not count."""
    counted = [one for one in judgements if one.case.leaky and not one.case.beyond]
    return Score(
        name,
        len(counted),
        sum(one.detected for one in counted),
        sum(one.got != "none" for one in counted),
        sum(one.got == "leak" for one in counted),
        false_leaks,
        medians(counted),
    )


def medians(judgements: list[Judgement]) -> dict[str, float]:
    """Seconds until each verdict, over the programs that ever got it."""
    found = {}
    for tier in ("suspect", "growing", "leak"):
        times = [one.first_s[tier] for one in judgements if tier in one.first_s]
        if times:
            found[tier] = statistics.median(times)
    return found


def scores(judgements: list[Judgement]) -> list[Score]:
    """All, then by kind, then the tiers that were expected."""
    rows = [score("all", judgements, sum(len(one.false_leaks) for one in judgements))]
    for kind in KINDS:
        of_kind = [one for one in judgements if one.case.kind == kind]
        wrong = sum(place.startswith(f"{kind} of ") for one in judgements for place in one.false_leaks)
        if of_kind or wrong:
            rows.append(score(kind, of_kind, wrong))
    for tier in ("leak", "growing"):
        expected = [one for one in judgements if one.case.tier == tier]
        rows.append(score(f"expected {tier}", expected, sum(len(one.false_leaks) for one in expected)))
    return rows


def healthy_leaks(judgements: list[Judgement]) -> int:
    """Healthy programs of which anything was ever called a leak."""
    return sum(bool(one.false_leaks) for one in judgements if not one.case.leaky)


