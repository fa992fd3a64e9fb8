//! Children that share the parent's memory give back nothing of the parent's.
//!
//! Guard: the vfork stub's thread flag, and the pid gate for clone(2) with
//! CLONE_VM. Without them the parent's rows are gone after the first child.

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
