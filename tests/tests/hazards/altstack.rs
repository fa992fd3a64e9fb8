//! Handlers on an alternate stack just large enough.
//!
//! Guard: on a stack that is not the thread's own, hooks do not unwind, and
//! they use 1 KiB at most. Without it the handler runs into unmapped memory.

use memguard_tests::Program;

#[test]
fn a_handler_on_a_small_alternate_stack() {
    Program::fixture("altstack").assert_agrees();
}
