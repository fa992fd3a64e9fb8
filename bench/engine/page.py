"""The page: machine, promises, tables, method. Unflattering figures stay in it."""

import statistics

from bounds import Promise, promises
from cases import Case
from stats import Estimate, estimate
from variants import COMPARISONS

GROUPS = {
    "servers": "CPU per request of servers",
    "programs": "CPU of malloc-bound programs",
    "micro": "Single operations",
    "memory": "Memory",
    "rivals": "The same for other profilers",
}

METHOD = """\
Each round measures every variant once, in an order that rotates, and divides values of the same round only; servers
are started afresh in every round, side by side, and driven in turn. A figure is the median over the rounds, in
brackets the 95 % interval of that median (sign test), then the number of pairs. CPU is user and system time of all
processes; for servers the kernel's sum over their control group, divided by completed requests. `empty` is an
interposer that hooks the same calls and only forwards them. The programs and their sizes are in `bench/`, named
before the first measurement; none was dropped. An interval too wide for its bound is called unresolved.
pgbench's slices are 4 800 transactions of four backends that start with them: what a new process costs is in its figure.
heaptrack writes to /dev/null here, which flatters it; Python's, perl's and sort's time is not all malloc's."""


def page(cases: list[Case], machine: dict[str, str], command: str, notes: list[str]) -> str:
    """The whole page as Markdown."""
    done = [case for case in cases if case.rounds]
    parts = ["# Benchmarks", f"Written by `{command}`; do not edit by hand.", METHOD, *notes]
    parts += ["## Promises", promise_table(promises(done))]
    for group, title in GROUPS.items():
        chosen = [case for case in done if case.group == group]
        if chosen:
            parts += [f"## {title}", value_table(chosen), ratio_table(chosen)]
    parts += ["## Machine", machine_table(machine)]
    return "\n\n".join(parts) + "\n"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float) -> str:
    """Four digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def spread(found: Estimate, places: int) -> str:
    """median [low, high] n."""
    low, high = ("?" if end is None else f"{end:.{places}f}" for end in (found.low, found.high))
    return f"{found.median:.{places}f} [{low}, {high}] n={found.pairs}"


def promise_table(found: list[Promise]) -> str:
    """Each promise with its verdict."""
    rows = [
        [one.title, f"{one.bound:.4g} {one.unit}", spread(one.found, 3 if one.unit != "ns" else 0), one.verdict()]
        for one in found
    ]
    return table(["what", "at most", "measured", "verdict"], rows)


def value_table(cases: list[Case]) -> str:
    """Medians in the case's own unit."""
    names = list(dict.fromkeys(name for case in cases for name in case.rounds[0]))
    names.sort(key=order_of)
    rows = []
    for case in cases:
        values = {name: [row[name] for row in case.rounds if name in row] for name in names}
        medians = [number(statistics.median(values[name])) if values[name] else "" for name in names]
        rows.append([case.name, case.unit, *medians])
    return table(["median", "unit", *names], rows)


def order_of(name: str) -> int:
    """bare first, then as the comparisons name them."""
    known = ["bare", *(name for pair in COMPARISONS for name in reversed(pair))]
    return known.index(name)


def ratio_table(cases: list[Case]) -> str:
    """Paired ratios of every comparison that the cases allow."""
    wanted = [pair for pair in COMPARISONS if any(case.pairs(*pair) for case in cases)]
    rows = []
    for case in cases:
        row = [case.name]
        for pair in wanted:
            values = [value / base for value, base in case.pairs(*pair)]
            row.append(spread(estimate(values), 3) if values else "")
        rows.append(row)
    return table(["ratio", *(f"{variant} / {base}" for variant, base in wanted)], rows)


def machine_table(machine: dict[str, str]) -> str:
    """What description() found."""
    return table(["what", "value"], [[name, value] for name, value in machine.items()])
