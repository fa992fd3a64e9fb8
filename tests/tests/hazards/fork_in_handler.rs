//! A signal handler forks while hooks are at work.
//!
//! Guards: no hook takes a lock, and where the parent's segment was mapped
//! memory stays in the child, which may go back to the hook that the signal
//! came upon. Without the first a child stands still; without the second it
//! dies of SIGSEGV.

use memguard_tests::Program;

#[test]
fn children_of_a_handler_change_nothing() {
    Program::fixture("fork_in_handler").assert_agrees();
}
