//! pthread_cancel in every hooked call that waits.
//!
//! Guards: the stubs carry unwind information, and the workspace unwinds.
//! Without the first a cancelled thread's cleanup is left out, with `panic =
//! "abort"` the program stands still or aborts at the first one. (That hooks of
//! cancellation points are `extern "C-unwind"` and keep no value with a
//! destructor across the real call is the language's rule: no test shows it,
//! while the compiler lets a cancelled thread through without.)

use std::path::Path;

use memguard_tests::{Mode, Program, Scratch, compile};

/// Cleanup handlers are jumped to in C, and come by unwinding each frame where
/// there are exceptions.
#[test]
fn threads_are_cancelled_in_hooked_calls() {
    for flags in [&[][..], &["-fexceptions"]] {
        cancelled(&compile::program_with("cancel", flags));
    }
}

fn cancelled(path: &Path) {
    let program = |scratch: &Scratch| Program::at(path).arg(scratch.path());
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
