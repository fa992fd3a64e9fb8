//! A signal handler forks while hooks are at work.
//!
//! Guard: a child makes its segment without locks and without what the parent
//! was in the middle of. Without it a child stands still, or takes rows away.

use memguard_tests::Program;

#[test]
fn children_of_a_handler_change_nothing() {
    Program::fixture("fork_in_handler").assert_agrees();
}
