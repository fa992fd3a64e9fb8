//! Filters that kill at any call outside a list, before the start and after.
//!
//! Guards: under a filter at the start, the constructor makes no call that the
//! loader has not made; once the program installs one (prctl or syscall), the
//! segment never grows again. Without either the program dies of SIGSYS. One
//! that comes in past all hooks meets no call of ours at the end of a process
//! whose record is kept.

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
}

#[test]
fn a_filter_for_all_threads() {
    shuts_itself_in("tsync");
}

#[test]
fn a_filter_that_no_hook_saw() {
    let program = Program::fixture("seccomp_raw").env("MEMGUARD_KEEP", "always");
    let bare = program.bare().ok();
    program.watched().ok().assert_same(&bare, "light");
}
