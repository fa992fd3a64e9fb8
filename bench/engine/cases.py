"""What a measurement is: a case measured under several variants, round by round."""

import itertools
from dataclasses import dataclass, field
from typing import Callable

from variants import Variant

Values = dict[str, float]


@dataclass
class Case:
    """One workload. `measure` returns a value for each variant of one round.

    `group` is the table it is printed in, `every` says in which rounds it takes part
    (1: in each, 3: in every third), `most` how many rounds are enough for it.
    """

    name: str
    group: str
    unit: str
    variants: list[Variant]
    measure: Callable[[list[Variant]], Values]
    every: int = 1
    most: int = 1000
    rounds: list[Values] = field(default_factory=list)

    def is_due(self, number: int) -> bool:
        """Whether this case takes part in round `number` (from 0)."""
        return number % self.every == 0 and len(self.rounds) < self.most

    def run_round(self, number: int) -> None:
        """Measures every variant once, in an order that rotates with the round."""
        self.rounds.append(self.measure(rotated(self.variants, number)))

    def pairs(self, variant: str, base: str) -> list[tuple[float, float]]:
        """(variant, base) of each round that has both."""
        return [(row[variant], row[base]) for row in self.rounds if variant in row and base in row]


def rotated(items: list[Variant], number: int) -> list[Variant]:
    """All orders in turn: neither first place nor one neighbour stays with a variant."""
    orders = list(itertools.islice(itertools.permutations(items), 720))
    # 7 shares no factor with 2, 6, 24, 120 or 720, so every order is visited.
    return list(orders[(number * 7) % len(orders)])


def one_by_one(measure: Callable[[Variant], float]) -> Callable[[list[Variant]], Values]:
    """A round of a program that is run once for each variant."""
    return lambda order: {variant.name: measure(variant) for variant in order}

