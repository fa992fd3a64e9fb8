"""Medians of paired values and their exact intervals.

Values of one round are divided by each other, never values of different
rounds: what the machine did meanwhile touches both sides of a pair alike.
The interval is the sign test's: the k-th smallest and k-th largest of the
pairs, with k such that the true median lies between them in at least 95 of
100 runs, whatever the distribution.
"""

import math
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A median with its 95 % interval; None where there are too few pairs."""

    median: float
    low: float | None
    high: float | None
    smallest: float
    largest: float
    pairs: int


def rank_of_interval(pairs: int) -> int | None:
    """The largest k whose order statistics k and n+1-k cover the median with 95 %."""
    tail, best = 0.0, None
    for below in range(pairs // 2):
        tail += math.comb(pairs, below) / 2**pairs
        if 2 * tail > 0.05:
            break
        best = below + 1
    return best


def estimate(values: list[float]) -> Estimate:
    """Median, interval and range of one value per round."""
    ordered = sorted(values)
    rank = rank_of_interval(len(ordered))
    low, high = (ordered[rank - 1], ordered[-rank]) if rank else (None, None)
    return Estimate(statistics.median(ordered), low, high, ordered[0], ordered[-1], len(ordered))


def geometric_mean(values: list[float]) -> float:
    """The mean of ratios."""
    return math.exp(sum(math.log(value) for value in values) / len(values))
