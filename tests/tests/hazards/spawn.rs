//! posix_spawn, posix_spawnp and system, with file actions, on four threads.
//!
//! Guard: the same as for vfork; libc's own clone calls no hook, but what it
//! runs in the child must not reach the parent's rows.

use memguard_tests::Program;

#[test]
fn spawned_children_change_nothing() {
    Program::fixture("spawn").assert_agrees();
}
