//! A child is a process of its own, however it was split off.
//!
//! Guard: the segment's pointer lies in a page that fork wipes. Without it the
//! child's fifty closes take the parent's rows away, and the child has no
//! segment of its own.

use std::fs;

use memguard_tests::truth::Truth;
use memguard_tests::{Mode, Program, Scratch};

fn parent_and_child(how: &str) {
    for mode in [Mode::Light, Mode::Deep] {
        let scratch = Scratch::new();
        let says = scratch.join("child");
        let program = Program::fixture("fork").arg(how).arg(&says).mode(mode);
        let held = program.hold_in(scratch);
        held.record().assert_rows_are_true(held.pid());
        held.assert_fds_agree();
        let child = held.value("child") as u32;
        held.record_of(child).assert_rows_are_true(child);
        let said = fs::read_to_string(&says).expect("the child says what it keeps");
        Truth::of(child, &said).assert_agrees(&held.fds_of(child));
        held.finish_ok();
    }
}

#[test]
fn fork_leaves_the_parents_rows() {
    parent_and_child("fork");
}

#[test]
fn fork_without_handlers_leaves_the_parents_rows() {
    parent_and_child("_Fork");
}

#[test]
fn a_raw_clone_leaves_the_parents_rows() {
    parent_and_child("clone");
}
