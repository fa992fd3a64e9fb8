"""One operation at a time: nanoseconds for a pair, a descriptor, a start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from cases import Case, one_by_one
from running import BARE, SERVED, output_of
from variants import Variant, Variants

FILE = "/etc/hostname"


@dataclass(frozen=True)
class Micro:
    """A benchmark program, how often it loops and its further arguments."""

    title: str
    program: str
    count: int
    arguments: Callable[[str, Variant], list[str]]
    # Several threads or processes need more than one CPU.
    pinned: bool = True
    # The start of a program is measured from a parent that is not preloaded.
    parent_is_bare: bool = False


PAIRS = [
    Micro("malloc+free, 1 thread", "pairs", 30_000_000, lambda n, _: ["1", n, "1"]),
    Micro("malloc+free, 2 threads", "pairs", 20_000_000, lambda n, _: ["2", n, "1"], pinned=False),
    Micro("malloc+free, 1024 blocks alive", "pairs", 15_000_000, lambda n, _: ["1", n, "1024"]),
]
OTHERS = [
    Micro("open+close, 20 frames", "open_close", 200_000, lambda n, _: [n, "1", "0", FILE]),
    Micro("open+close, 20 frames, inner 6 vary", "open_close", 200_000, lambda n, _: [n, "64", "11", FILE]),
    Micro("open+close, 20 frames, outer 6 vary", "open_close", 200_000, lambda n, _: [n, "64", "0", FILE]),
    Micro("accept+close", "accept_close", 10_000, lambda n, _: [n], pinned=False),
    Micro("start of /bin/true, CPU", "start_up", 200, lambda n, v: [n, "cpu", v.preload], parent_is_bare=True),
    Micro("start of /bin/true, elapsed", "start_up", 200, lambda n, v: [n, "wall", v.preload], parent_is_bare=True),
    Micro("fork+exec storm", "start_up", 200, lambda n, _: [n, "storm"]),
]


def cases(built: Path, variants: Variants, scale: float) -> list[Case]:
    """The micro-benchmarks; `scale` shortens their loops for a quick run."""
    ours = [case(one, built, scale, "micro", variants.main) for one in PAIRS + OTHERS]
    rivals = [case(one, built, scale, "rivals", variants.rivals, every=2) for one in PAIRS]
    return ours + rivals


def case(one: Micro, built: Path, scale: float, group: str, under: list[Variant], every: int = 1) -> Case:
    """A micro-benchmark under some variants."""

    def measure(variant: Variant) -> float:
        count = str(max(int(one.count * scale) // variant.cost, 20))
        command = [str(built / one.program), *one.arguments(count, variant)]
        parent = BARE if one.parent_is_bare else variant
        return float(output_of(command, parent, SERVED if one.pinned else None))

    return Case(one.title, group, "ns", under, one_by_one(measure), every)
