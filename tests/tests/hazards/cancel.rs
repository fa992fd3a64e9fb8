//! pthread_cancel in every hooked call that waits.
//!
//! Guard: hooks of cancellation points are `extern "C-unwind"`, the workspace
//! unwinds, and no value with a destructor lives across the real call. With
//! `panic = "abort"` the process aborts at the first cancelled thread.

use memguard_tests::{Mode, Program, Scratch};

#[test]
fn threads_are_cancelled_in_hooked_calls() {
    let program = |scratch: &Scratch| Program::fixture("cancel").arg(scratch.path());
    let scratch = Scratch::new();
    let bare = program(&scratch).bare().ok().plain();
    for mode in Mode::RECORDING {
        let scratch = Scratch::new();
        let watched = program(&scratch).mode(mode).watched();
        watched.plain().assert_same(&bare, &format!("{mode:?}"));
        let scratch = Scratch::new();
        let held = program(&scratch).mode(mode).hold();
        held.record().assert_rows_are_true(held.pid());
        held.assert_fds_agree();
        held.finish_ok();
    }
}
