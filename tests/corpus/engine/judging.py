"""Compares what was reported of a program with what is expected of it."""

from dataclasses import dataclass, field

from asking import Finding
from manifest import Case, rank
from trial import Trial


@dataclass
class Judgement:
    """`got` is the worst verdict at the end on what the case is about."""

    trial: Trial
    got: str = "none"
    count: int | None = None
    function: str = ""
    first_s: dict[str, float] = field(default_factory=dict)
    # Places that were called a leak, at any time, and are none.
    false_leaks: list[str] = field(default_factory=list)
    # The worst of `growing` and `suspect` that a place of a healthy program ever got, and when first.
    accused: dict[str, tuple[str, float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def case(self) -> Case:
        """The program."""
        return self.trial.case

    @property
    def detected(self) -> bool:
        """A leaky program that ended at its tier, with the right function."""
        return self.case.leaky and self.got in self.case.right_tiers


def is_the_bug(case: Case, finding: Finding) -> bool:
    """Whether a finding is about what the manifest says."""
    if not is_kind(case, finding):
        return False
    return finding.function == case.function if case.native else finding.function != ""


def is_kind(case: Case, finding: Finding) -> bool:
    """Heap that grows is called caches."""
    return finding.kind == case.kind or (case.kind, finding.kind) == ("memory", "caches")


def is_true_leak(case: Case, finding: Finding) -> bool:
    """What may be called a leak: the bug, and what goes with it (a FILE's buffer, a thread's stack)."""
    if not case.leaky:
        return False
    return finding.function == case.function if case.native else finding.function != ""


def is_blamed(case: Case, finding: Finding) -> bool:
    """Whether a healthy program is measured by this finding.

    An interpreter's own caches are not the program's trick: there, its kind only.
    """
    return case.native or is_kind(case, finding)


def judge(trial: Trial) -> Judgement:
    """All that is to be said of one trial."""
    judgement = Judgement(trial)
    if trial.trouble:
        judgement.failures.append(trial.trouble)
    note_times(judgement)
    note_false_leaks(judgement)
    note_accused(judgement)
    if trial.case.leaky:
        judge_leaky(judgement)
    else:
        judge_healthy(judgement)
    return judgement


def note_times(judgement: Judgement) -> None:
    """When the bug first got each verdict, counted from the first moment it could be there."""
    case = judgement.case
    for at, findings in judgement.trial.asked:
        for finding in findings:
            if case.leaky and is_the_bug(case, finding):
                judgement.first_s.setdefault(finding.verdict, max(0.0, at - case.starts_s))


def note_false_leaks(judgement: Judgement) -> None:
    """A leak where none is, in whichever report."""
    case = judgement.case
    for at, findings in judgement.trial.asked:
        for finding in findings:
            if finding.verdict == "leak" and not is_true_leak(case, finding):
                where = f"{finding.kind} of {finding.where}"
                if where not in judgement.false_leaks:
                    judgement.false_leaks.append(where)
                    judgement.failures.append(f"called {where} a leak after {at:.0f} s, which it is not: {finding.evidence}")


def note_accused(judgement: Judgement) -> None:
    """What a healthy program was suspected of, in whichever report. Known from a run before, a bounded cache no longer is."""
    case = judgement.case
    for at, findings in judgement.trial.asked:
        for finding in findings:
            if not case.leaky and is_kind(case, finding) and rank("early") < rank(finding.verdict) < rank("leak"):
                verdict, first_s = judgement.accused.get(finding.where, (finding.verdict, at))
                judgement.accused[finding.where] = (max(verdict, finding.verdict, key=rank), first_s)
    if case.bounded and judgement.trial.learned:
        for where, (verdict, first_s) in judgement.accused.items():
            judgement.failures.append(f"called {where} {verdict} after {first_s:.0f} s, which an earlier run held as well")


def judge_leaky(judgement: Judgement) -> None:
    """At its tier, with its function on top."""
    case, trial = judgement.case, judgement.trial
    about = [finding for finding in trial.last if is_the_bug(case, finding)]
    if about:
        worst = max(about, key=lambda finding: (rank(finding.verdict), finding.count))
        judgement.got, judgement.function = worst.verdict, worst.function
        judgement.count = sum(finding.count for finding in about)
    if not trial.trouble and not any(trial.held.values()):
        judgement.failures.append("does not leak: its truth log says that it holds nothing")
    if not judgement.detected and not case.beyond:
        expected = " or ".join(case.right_tiers)
        judgement.failures.append(f"expected {expected} of {case.kind} in {case.function}, got {judgement.got}{elsewhere(judgement)}")
    for finding in trial.last:
        if case.beside and finding.function == case.beside and rank(finding.verdict) > rank("early"):
            judgement.failures.append(f"{finding.kind} of {case.beside} are {finding.verdict}; they must stay held")


def elsewhere(judgement: Judgement) -> str:
    """What its kind got under other names: the function may be wrong, not the verdict."""
    case = judgement.case
    others = [one for one in judgement.trial.last if is_kind(case, one) and not is_the_bug(case, one)]
    others = [one for one in others if rank(one.verdict) >= rank("suspect")]
    return "".join(f"; {one.verdict} in {one.where}" for one in others[:3])


def judge_healthy(judgement: Judgement) -> None:
    """Never a leak, and at the end nothing worse than allowed."""
    case = judgement.case
    blamed = [finding for finding in judgement.trial.last if is_blamed(case, finding)]
    if blamed:
        worst = max(blamed, key=lambda finding: (rank(finding.verdict), finding.count))
        judgement.got, judgement.function, judgement.count = worst.verdict, worst.where, worst.count
        # Early is no verdict: too young to be judged.
        allowed = max(rank(case.worst), rank("early"))
        if allowed < rank(judgement.got) < rank("leak"):
            judgement.failures.append(f"{worst.kind} of {worst.where} are {worst.verdict}; at most {case.worst} is expected: {worst.evidence}")
