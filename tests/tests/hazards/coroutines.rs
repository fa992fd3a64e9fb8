//! Coroutines on stacks of their own.
//!
//! Guard: unwinding reads only within the thread's validated stack. Without it
//! it reads past a coroutine's stack, into unmapped memory.

use memguard_tests::{Mode, Program};

#[test]
fn a_hundred_coroutines() {
    let program = Program::fixture("coroutines");
    program.assert_agrees();
    program.mode(Mode::Dense).watched().ok();
}
