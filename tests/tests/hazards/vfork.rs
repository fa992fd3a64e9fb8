//! Children that share the parent's memory give back nothing of the parent's.
//!
//! Guards: the vfork stub's flag, which is the thread's own; the kernel's word
//! for whose a flagged event is; the pid gate for clone(2) with CLONE_VM.
//! Without the first or the third the parent's rows are gone after the first
//! child; with a flag for the whole process, what other threads do meanwhile is
//! lost, and without the second what a handler does while the two part.

use memguard_tests::Program;

fn after(how: &str) {
    Program::fixture("vfork_close").arg(how).assert_agrees();
}

#[test]
fn ten_thousand_closes_after_vfork() {
    after("vfork");
}

#[test]
fn close_range_after_vfork() {
    after("range");
}

#[test]
fn closefrom_after_vfork() {
    after("from");
}

#[test]
fn dup2_after_vfork() {
    after("dup2");
}

#[test]
fn closes_after_clone_with_shared_memory() {
    after("clone");
}

#[test]
fn another_thread_goes_on_beside_vfork() {
    let held = Program::fixture("vfork_close").arg("beside").hold();
    held.record().assert_rows_are_true(held.pid());
    held.assert_fds_agree();
    held.finish_ok();
}

#[test]
fn a_handler_runs_as_parent_and_child_part() {
    after("signal");
}
