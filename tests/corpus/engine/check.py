"""Checks the engine itself: made-up reports, judged as they must be."""

import unittest
from dataclasses import replace

from asking import finding_of, plain
from figures import scores
from judging import Judgement, judge
from manifest import Case, load
from trial import Trial

LEAKY = Case("leaky", "error_path", "c", "files", "load_settings", True, tier="leak")
HEALTHY = Case("healthy", "lock_file", "c", "files", "take_lock", True, worst="held")


def row(verdict: str, function: str, file: str, kind: str = "files", count: int = 3) -> dict:
    """A finding as the JSON has it, under a frame of libc."""
    libc = {"function": "open64", "file": "open64.c", "module": "libc.so.6"}
    frame = {"function": function, "file": f"/somewhere/{file}", "module": "a program"}
    return {"kind": kind, "verdict": verdict, "count": count, "stack": [libc, frame], "summary": "", "evidence": []}


def judged(case: Case, *reports: list[dict]) -> Judgement:
    """Reports at 5, 10, 15 s, with a truth log."""
    trial = Trial(case, 15, held={case.function: 3})
    trial.asked = [(5.0 * (i + 1), [finding_of(case, one) for one in rows]) for i, rows in enumerate(reports)]
    return judge(trial)


class Judging(unittest.TestCase):
    """What passes and what must not."""

    def test_a_leak_at_its_function_is_detected_and_timed(self) -> None:
        """Suspect first, then a leak."""
        early, late = row("suspect", "load_settings", "error_path.c"), row("leak", "load_settings", "error_path.c")
        one = judged(LEAKY, [early], [late])
        self.assertTrue(one.detected)
        self.assertEqual((one.first_s, one.count, one.failures), ({"suspect": 5.0, "leak": 10.0}, 3, []))

    def test_the_time_counts_from_the_start_of_the_leak(self) -> None:
        """A leak that starts after four seconds."""
        one = judged(replace(LEAKY, starts_s=4), [row("leak", "load_settings", "error_path.c")])
        self.assertEqual(one.first_s, {"leak": 1.0})

    def test_another_function_is_a_false_leak(self) -> None:
        """Right kind, wrong place."""
        one = judged(LEAKY, [row("leak", "main", "error_path.c")])
        self.assertFalse(one.detected)
        self.assertEqual(one.false_leaks, ["files of main"])

    def test_a_milder_verdict_is_not_enough(self) -> None:
        """Suspect where leak is expected."""
        one = judged(LEAKY, [row("suspect", "load_settings", "error_path.c")])
        self.assertEqual(one.failures, ["expected leak of files in load_settings, got suspect"])

    def test_a_program_that_holds_nothing_does_not_leak(self) -> None:
        """The truth log is believed."""
        trial = Trial(LEAKY, 15, held={"load_settings": 0}, asked=[(5.0, [])])
        self.assertTrue(any("truth log" in failure for failure in judge(trial).failures))

    def test_what_was_called_a_leak_for_a_moment_stays_wrong(self) -> None:
        """Healthy, and held in the end."""
        wrong, right = row("leak", "take_lock", "lock_file.c"), row("held", "take_lock", "lock_file.c")
        one = judged(HEALTHY, [wrong], [right])
        self.assertEqual((one.got, one.false_leaks), ("held", ["files of take_lock"]))

    def test_worse_than_allowed_is_a_failure_and_early_is_not(self) -> None:
        """A suspect where held is the most."""
        self.assertTrue(judged(HEALTHY, [row("suspect", "take_lock", "lock_file.c")]).failures)
        self.assertFalse(judged(HEALTHY, [row("early", "take_lock", "lock_file.c")]).failures)

    def test_any_native_frame_counts_for_scripts(self) -> None:
        """Python's own functions are not on the stack."""
        case = replace(LEAKY, name="traceback_sockets", language="python")
        self.assertTrue(judged(case, [row("leak", "_PyEval_EvalFrameDefault", "ceval.c")]).detected)

    def test_what_is_held_beside_a_leak_must_stay_held(self) -> None:
        """A pool in a leaky program."""
        leak, pool = row("leak", "load_settings", "error_path.c"), row("suspect", "pool", "error_path.c")
        one = judged(replace(LEAKY, beside="pool"), [leak, pool])
        self.assertEqual(one.failures, ["files of pool are suspect; they must stay held"])

    def test_what_is_beyond_counts_neither_way(self) -> None:
        """Shown, not judged."""
        one = judged(replace(LEAKY, beyond="not of its kinds"), [])
        self.assertEqual((one.failures, scores([one])[0].cases), ([], 0))


class Figures(unittest.TestCase):
    """The sums."""

    def test_recall_and_precision(self) -> None:
        """One of two detected; one of two places is right."""
        good = judged(LEAKY, [row("leak", "load_settings", "error_path.c")])
        missed = judged(LEAKY, [row("suspect", "load_settings", "error_path.c")])
        wrong = judged(HEALTHY, [row("leak", "take_lock", "lock_file.c")])
        total = scores([good, missed, wrong])[0]
        self.assertEqual((total.recall, total.precision, total.median_s["leak"]), (0.5, 0.5, 5.0))

    def test_bare_names(self) -> None:
        """As the demanglers of C++ and Rust write them."""
        names = ["call_service(int, bool)", "void fill<std::pair<int, int> >(int)", "rc_cycle::widget", "<u8 as alloc::Spec>::from_elem"]
        self.assertEqual([plain(name) for name in names], ["call_service", "fill", "widget", "from_elem"])


class Manifest(unittest.TestCase):
    """The manifest as a whole."""

    def test_there_are_enough_of_both_and_names_are_unique(self) -> None:
        """At least 24 and 24, and a few to be run often."""
        cases = load()
        self.assertGreaterEqual(min(sum(case.leaky for case in cases), sum(not case.leaky for case in cases)), 24)
        self.assertEqual(len({case.name for case in cases}), len(cases))
        self.assertLessEqual(sum(case.quick for case in cases), 8)

    def test_each_names_a_function_that_is_in_its_file(self) -> None:
        """Published ones are named for what they stand on."""
        for case in load():
            if case.native:
                self.assertIn(f"{case.function}(", case.source.read_text().replace("<", "("), case.name)


if __name__ == "__main__":
    unittest.main()
