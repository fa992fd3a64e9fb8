//! Two threads whose descriptor numbers go from one to the other at once.
//!
//! Guard: a close is recorded before it is made. Without it a thread takes
//! away the row of the other, which has got the number meanwhile.

use memguard_tests::{Held, Mode, Program};

/// The pairs that the two threads keep.
fn keeps(held: &Held) -> Vec<(i32, i32)> {
    let lines = held
        .said()
        .lines()
        .filter_map(|l| l.strip_prefix("# keeps "));
    let pair = |line: &str| {
        let (a, b) = line.split_once(' ')?;
        Some((a.parse().ok()?, b.parse().ok()?))
    };
    lines.filter_map(pair).collect()
}

#[test]
fn each_row_has_the_thread_that_opened_it() {
    for mode in [Mode::Light, Mode::Deep] {
        let held = Program::fixture("two_writers").mode(mode).hold();
        held.record().assert_rows_are_true(held.pid());
        let (pairs, fds) = (keeps(&held), held.fds());
        assert_eq!(pairs.len(), 100);
        for (a, b) in pairs {
            let (a, b) = (fds.get(a).expect("a row"), fds.get(b).expect("a row"));
            assert!(a.created_in("a_opens"), "{a:#?}");
            assert!(b.created_in("b_opens"), "{b:#?}");
        }
        held.finish_ok();
    }
}
