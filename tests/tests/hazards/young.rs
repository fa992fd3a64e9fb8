//! What a forked child opens in its first milliseconds, before it is worth a
//! segment.
//!
//! Guard: such descriptors wait with their return addresses until the child
//! has a segment. Without it a worker that opens everything at once is "origin
//! unknown" for good. And they are forgotten in a child of its own: without
//! that what it inherits passes for opened there. A child looks for what it
//! inherits where its parent had something; without that a high number has no
//! row. What it closes by one call for many does not wait any longer, and where
//! its parent had more than it asks for one by one it goes by the kernel's list:
//! without these what it closed has a row, or what it inherits has none.

use memguard_tests::truth::Truth;
use memguard_tests::{Mode, Program};

/// The child's numbers: it closed the one it inherited and took it again.
const CHILD_KEEPS: &str = "kept 3 files child_runs\n\
    kept 4 files young_opens\n\
    kept 5 pipes young_pipes\n\
    kept 40 files child_runs\n\
    kept 200 - inherited\n";

/// What the child's own child inherits of these.
const GRANDCHILD_KEEPS: &str = "kept 4 - inherited\n\
    kept 5 - inherited\n\
    kept 40 - inherited\n\
    kept 200 - inherited\n";

#[test]
fn what_a_young_child_opens_is_known_later() {
    for mode in [Mode::Light, Mode::Deep] {
        let held = Program::fixture("young").mode(mode).hold();
        held.assert_fds_agree();
        let child = held.value("child") as u32;
        held.record_of(child).assert_rows_are_true(child);
        Truth::of(child, CHILD_KEEPS).assert_agrees(&held.fds_of(child));
        let grandchild = held.value("grandchild") as u32;
        Truth::of(grandchild, GRANDCHILD_KEEPS).assert_agrees(&held.fds_of(grandchild));
        held.finish_ok();
    }
}

#[test]
fn a_child_that_does_nothing_more_is_still_a_watched_one() {
    let held = Program::fixture("fork").arg("idle").arg("/dev/null").hold();
    let child = held.value("child") as u32;
    let notes = format!("{:?}", held.report_of(child).value);
    assert!(!notes.contains("without memguard"), "{notes}");
    held.finish_ok();
}

#[test]
fn what_a_young_child_closes_at_once_is_gone() {
    for how in ["range", "from", "most"] {
        let held = Program::fixture("young_sweeps").arg(how).hold();
        let child = held.value("child") as u32;
        held.record_of(child).assert_rows_are_true(child);
        held.finish_ok();
    }
}
