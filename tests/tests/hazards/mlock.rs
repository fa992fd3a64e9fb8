//! mlockall, for now and for the future, with and without a limit.
//!
//! Guards: only what is in use is mapped, and growth stops once the program has
//! locked its memory, by whichever call. Without the first the whole segment is
//! locked and charged; without the second all that it grows by is.

use memguard_tests::{Mode, Outcome, Program, outcome::value_in, skip};

/// Locked KiB right after the call, and at the end.
fn locked(outcome: &Outcome) -> (i64, i64) {
    let lines = outcome.stdout.lines().filter_map(|l| l.strip_prefix("# "));
    let figures = lines.filter_map(|l| value_in(l, "locked_kb"));
    let figures: Vec<i64> = figures.map(|f| f as i64).collect();
    (figures[0], figures[1])
}

fn locks(program: &Program) {
    let bare = program.bare().ok();
    let (bare_first, bare_last) = locked(&bare);
    for mode in Mode::RECORDING {
        let watched = program.clone().mode(mode).watched().ok();
        watched
            .plain()
            .assert_same(&bare.plain(), &format!("{mode:?}"));
        let (first, last) = locked(&watched);
        // The library, its tables, and what of the segment is in use.
        let more = first - bare_first;
        assert!(more <= 4096, "{mode:?} locks {more} KiB more than bare");
        let growth = (last - first) - (bare_last - bare_first);
        assert!(
            growth <= 64,
            "{mode:?} locks {growth} KiB more as it goes on"
        );
    }
}

#[test]
fn all_memory_is_locked() {
    if skip::root("mlock") {
        for how in ["current", "future", "both", "syscall"] {
            locks(&Program::fixture("mlock").arg(how));
        }
    }
}

#[test]
fn with_a_limit() {
    if skip::root("mlock") {
        locks(&Program::fixture("mlock").arg("future").arg("3000000"));
    }
}
