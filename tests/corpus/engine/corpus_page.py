"""The tables of a run, printed or as docs/CORPUS.md."""

from figures import Score, healthy_leaks, scores
from judging import Judgement

INTRO = """# The corpus

What memguard says of {count} small programs, {leaky} leaky and {healthy} healthy, each named for its bug or its trick, and written
by somebody who had not seen the detector. `scripts/corpus` makes this page; tests/corpus/manifest.toml says what is expected.

- Each runs under `libmemguard.so` with its defaults while `memguard report PID --min-age 5s` is asked every {every:g} s (60 s for
  long_websockets, whose silent connections live for 50 s: nobody can tell those from a leak in their first 50 s, so with 5 s
  they are called one until the first of them ends).
- Expectations were written blind, and changed in one way since: where nothing tells whether a thing is used (heap, mappings, memfd,
  popen; FILE* and DIR* before ten minutes) or says that it is used (node goes on reading from forgotten upstreams),
  a partial leak is `suspect` or `growing`, not `leak`.
- **detected**: at its expected verdict in the last report, of the right kind, with the right function as the innermost of the
  program's own frames. In Python and Node the script's functions are not on the stack yet: there any native frame counts.
- **precision**: of the places called `leak` at the end, or wrongly at any time, the share that is one.
- **time**: seconds from the start (or from when the leak begins) until the first report with that verdict.
- **held** is the program's own count of what it leaked when the last report was taken, **reported** is memguard's; for memory
  that is an estimate from samples, and includes what is in use.
"""

LEARNED = """Each program runs a second time, with the state folder of its first run and none of another program's. Leaky ones must end at their
tier again, nothing healthy may be called a leak, and bounded caches (`bounded` in the manifest) are no longer called `growing` at any time,
their warming up included.
"""


def share(value: float | None) -> str:
    """A share as per cent."""
    return "-" if value is None else f"{100 * value:.0f} %"


def seconds(times: dict[str, float], tier: str) -> str:
    """A time, if there is one."""
    return f"{times[tier]:.0f}" if tier in times else "-"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def score_row(one: Score) -> list[str]:
    """A line of the summary."""
    times = [seconds(one.median_s, tier) for tier in ("suspect", "growing", "leak")]
    return [one.name, f"{one.detected} of {one.cases}", share(one.recall), share(one.precision), str(one.false_leaks), *times]


def summary(judgements: list[Judgement]) -> str:
    """The figures by kind and tier."""
    head = ["", "detected", "recall", "precision", "false leaks", "suspect after, s", "growing after, s", "leak after, s"]
    return table(head, [score_row(one) for one in scores(judgements)])


def leaky_row(one: Judgement) -> list[str]:
    """A line of a leaky program."""
    case = one.case
    truth = str(sum(one.trial.held.values())) if one.trial.held else "-"
    verdict = "yes" if one.detected else ("beyond" if case.beyond else "**no**")
    times = [seconds(one.first_s, tier) for tier in ("suspect", "growing", "leak")]
    expected = "/".join(case.right_tiers)
    reported = "-" if one.count is None else str(one.count)
    return [case.name, case.language, case.kind, case.function, expected, one.got, verdict, truth, reported, *times]


def healthy_row(one: Judgement) -> list[str]:
    """A line of a healthy program."""
    case = one.case
    ever = "; ".join(one.false_leaks) or "never"
    verdict = "**no**" if one.failures else "yes"
    return [case.name, case.language, case.kind, case.worst, one.got, one.function.split("(")[0][:40] or "-", ever, verdict]


def leaky_table(judgements: list[Judgement]) -> str:
    """All leaky programs."""
    head = ["program", "language", "kind", "function", "expected", "at the end", "detected", "held", "reported"]
    rows = [leaky_row(one) for one in judgements if one.case.leaky]
    return table([*head, "suspect, s", "growing, s", "leak, s"], rows) if rows else ""


def healthy_table(judgements: list[Judgement]) -> str:
    """All healthy programs."""
    head = ["program", "language", "kind", "at most", "at the end", "where", "called a leak", "as expected"]
    rows = [healthy_row(one) for one in judgements if not one.case.leaky]
    return table(head, rows) if rows else ""


def learned_row(first: Judgement, again: Judgement) -> list[str]:
    """A line of a program in both runs."""
    leaky = first.case.leaky
    times = [seconds(one.first_s, one.got) if leaky else accused(one) for one in (first, again)]
    verdict = "**no**" if again.failures else "yes"
    return [first.case.name, first.case.group, first.got, times[0], again.got, times[1], verdict]


def accused(one: Judgement) -> str:
    """What a healthy program was suspected of."""
    tiers = [f"{verdict} after {first_s:.0f} s" for verdict, first_s in one.accused.values()]
    return "; ".join(sorted(set(tiers))) or "nothing"


def learned_table(judgements: list[Judgement], learned: list[Judgement]) -> str:
    """The first run beside the one with learned state."""
    before = {one.case.name: one for one in judgements}
    head = ["program", "", "first run: at the end", "after, s, or ever suspected of", "learned: at the end", "after, s, or ever suspected of", "as expected"]
    rows = [learned_row(before[one.case.name], one) for one in learned if one.case.name in before]
    return table(head, rows) if rows else ""


def ran_again(judgements: list[Judgement], learned: list[Judgement]) -> str:
    """Which did, where not all."""
    if len(learned) == len(judgements):
        return ""
    return f"Here {len(learned)} of {len(judgements)} did, {sum(one.case.leaky for one in learned)} of them leaky.\n"


def learned_figures(judgements: list[Judgement], learned: list[Judgement]) -> str:
    """What learning changed, in sentences."""
    def suspected(all_of_them: list[Judgement]) -> int:
        return sum(bool(one.accused) for one in all_of_them)

    def detected(all_of_them: list[Judgement]) -> int:
        return sum(one.detected for one in all_of_them if not one.case.beyond)

    before = [one for one in judgements if one.case.name in {other.case.name for other in learned}]
    leaks = healthy_leaks(learned)
    return (
        f"Detected at their tier: {detected(before)} leaky programs in their first run, {detected(learned)} with learned state. "
        f"Healthy programs of which anything was called a leak: {healthy_leaks(before)}, then {leaks}; of whose kind anything was ever "
        f"called `growing` or `suspect`: {suspected(before)}, then {suspected(learned)}.\n"
    )


def notes(judgements: list[Judgement]) -> str:
    """What the manifest says beside the figures."""
    lines = []
    for one in judgements:
        published = f"published as {one.case.published}" if one.case.published else ""
        said = "; ".join(text for text in (published, one.case.beyond, one.case.note) if text)
        if said:
            lines.append(f"- `{one.case.name}`: {said}.")
    return "\n".join(lines) + "\n"


def failure_lines(judgements: list[Judgement], skipped: dict[str, str]) -> list[str]:
    """What was not as expected, a line each."""
    run = {False: "", True: ", with learned state"}
    lines = [f"{one.case.name}{run[one.trial.learned]}: {failure}" for one in judgements for failure in one.failures]
    return lines + [f"{name}: not run, {why}" for name, why in skipped.items()]


def page(
    judgements: list[Judgement], learned: list[Judgement], skipped: dict[str, str], machine: dict[str, str], every: float
) -> str:
    """The whole of docs/CORPUS.md."""
    leaky = sum(one.case.leaky for one in judgements)
    failed = failure_lines(judgements + learned, skipped)
    facts = table(["what", "measured with"], [[name, value] for name, value in machine.items()])
    healthy = len(judgements) - leaky
    parts = [
        INTRO.format(count=len(judgements), leaky=leaky, healthy=healthy, every=every),
        f"{healthy_leaks(judgements)} of {healthy} healthy programs had anything called a leak at any time.\n",
        "## Figures\n",
        summary(judgements),
        "## Leaky programs\n",
        leaky_table(judgements),
        "## Healthy programs\n",
        healthy_table(judgements),
        "## With learned state\n",
        LEARNED + ran_again(judgements, learned),
        learned_figures(judgements, learned),
        learned_table(judgements, learned),
        "## Not as expected\n",
        "\n".join(f"- {line}" for line in failed) + "\n" if failed else "Nothing.\n",
        "## Notes\n",
        notes(judgements),
        "## Machine\n",
        facts,
    ]
    return "\n".join(parts)
