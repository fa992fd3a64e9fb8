//! Coroutines on stacks of their own.
//!
//! Guards: nothing is unwound outside the thread's own stack, be it below (the
//! room that is left says so too) or above (each word that is read is held
//! against the top too). Without both of either side a walk reads past a
//! coroutine's stack, into unmapped memory.

use memguard_tests::{Mode, Program};

#[test]
fn a_hundred_coroutines() {
    let program = Program::fixture("coroutines");
    program.assert_agrees();
    program.mode(Mode::Dense).watched().ok();
}
