//! A child is a process of its own, however it was split off.
//!
//! Guards: the segment's pointer lies in a page that fork wipes; a child that
//! makes a segment lets go of its parent's, takes its own thread id, and moves
//! the pid gate to itself. Without the first the child's fifty closes take the
//! parent's rows away, and the child has no segment of its own; without the
//! others it keeps its parent's pages, or its rows are another's, or none.

use std::collections::BTreeSet;
use std::fs;

use memguard_tests::truth::Truth;
use memguard_tests::{Held, Mode, Program, Scratch};

/// How many segments a process has mapped.
fn segments_mapped(held: &Held, pid: u32) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a live process has maps");
    let folder = held.folder().to_str().expect("the folder's path is UTF-8");
    let paths = maps
        .lines()
        .filter_map(|line| line.find(folder).map(|at| &line[at..]));
    paths.collect::<BTreeSet<_>>().len()
}

fn parent_and_child(how: &str) {
    for mode in [Mode::Light, Mode::Deep] {
        let scratch = Scratch::new();
        let says = scratch.join("child");
        let program = Program::fixture("fork").arg(how).arg(&says).mode(mode);
        let held = program.hold_in(scratch);
        held.record().assert_rows_are_true(held.pid());
        held.assert_fds_agree();
        let child = held.value("child") as u32;
        let own = held.record_of(child);
        own.assert_rows_are_true(child);
        for block in own.blocks() {
            assert_eq!(block.row.thread, child, "{block:#?}");
        }
        assert_eq!(segments_mapped(&held, child), 1, "its own and no other");
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

#[test]
fn a_child_behind_the_pid_gate_has_rows_of_its_own() {
    parent_and_child("gate");
}
