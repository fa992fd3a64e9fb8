//! posix_spawn, posix_spawnp and system, with file actions, on four threads.
//!
//! There is no guard to take out: libc clones by itself and runs the actions in
//! the child by raw system calls, which pass every hook by. Should a libc call
//! `vfork` or `close` by name there, the guards of vfork.rs hold, and this test
//! says whether they are enough.

use memguard_tests::Program;

#[test]
fn spawned_children_change_nothing() {
    Program::fixture("spawn").assert_agrees();
}
