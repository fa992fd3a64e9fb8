//! Filters that kill at any call outside a list, before the start and after.
//!
//! Guards: under a filter at the start, the constructor makes no call that the
//! loader has not made, and threads' states are set aside before, as they are
//! when the program is about to install one (prctl or syscall): from then on
//! the segment never grows again. A child under a filter lets go of its parent's
//! segment in fork's handlers, for the kernel wipes nothing then. Without the
//! first or the third the program dies of SIGSYS, without the second stacks are
//! missing, without the last a child's closes take the parent's rows away.
//! A filter that comes in past all hooks meets no call of ours at the end of a
//! process whose record is kept.

use memguard_tests::{Mode, Program};

#[test]
fn a_filter_at_the_start() {
    let program = Program::fixture("plain").inside(&["seccomp"]);
    program.assert_same().ok();
    for mode in Mode::RECORDING {
        let held = program.clone().mode(mode).hold();
        held.assert_fds_agree();
        let notes = held.report().notes().join("\n");
        assert!(
            notes.contains("seccomp"),
            "the report says why it is short: {notes}"
        );
        held.finish_ok();
    }
}

fn shuts_itself_in(how: &str) {
    for list in ["strict", "loose"] {
        let program = Program::fixture("seccomp_after").arg(how).arg(list);
        program.assert_same().ok();
        for mode in Mode::RECORDING {
            let held = program.clone().mode(mode).hold();
            held.assert_fds_agree();
            held.finish_ok();
        }
    }
}

#[test]
fn a_filter_by_prctl() {
    shuts_itself_in("prctl");
}

#[test]
fn a_filter_by_syscall() {
    shuts_itself_in("syscall");
    shuts_itself_in("number");
}

#[test]
fn a_filter_for_all_threads() {
    shuts_itself_in("tsync");
}

fn forks(how: &str, words: &[&str]) {
    let program = Program::fixture("filter_forks").arg(how).inside(words);
    program.assert_same().ok();
    for mode in Mode::RECORDING {
        let held = program.clone().mode(mode).hold();
        held.assert_fds_agree();
        held.finish_ok();
    }
}

#[test]
fn children_under_a_filter_at_the_start() {
    forks("inside", &["seccomp-forks"]);
}

#[test]
fn children_under_a_later_filter() {
    forks("itself", &[]);
}

#[test]
fn a_filter_that_no_hook_saw() {
    let program = Program::fixture("seccomp_raw").env("MEMGUARD_KEEP", "always");
    let bare = program.bare().ok();
    program.watched().ok().assert_same(&bare, "light");
}
