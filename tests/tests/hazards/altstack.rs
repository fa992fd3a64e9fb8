//! Handlers on an alternate stack just large enough.
//!
//! Guards: on a stack that is not the thread's own, hooks do not unwind (its
//! bounds say so, and once more the room that is left), and they use 1 KiB at
//! most. Without the first the walk reads past the stack's end, without the
//! second the handler writes past the other.

use memguard_tests::Program;

#[test]
fn a_handler_on_a_small_alternate_stack() {
    Program::fixture("altstack").assert_agrees();
}
