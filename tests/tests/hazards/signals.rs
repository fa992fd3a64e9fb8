//! Handlers run thousands of times a second inside the hooks.
//!
//! Guards: hooks take no lock, and the recursion guard notices that it was
//! jumped over. Without the first the program stands still as soon as a handler
//! interrupts a hook; without the second no stack is taken after the jumps.
//! (Rows that a jump leaves half-written are the business of loom and of
//! shm-protocol's own tests: malloc may not be jumped out of.)

use memguard_tests::{Mode, Program};

fn storm(handler: &str) {
    let program = Program::fixture("signals").arg(handler);
    program.assert_agrees();
    let held = program.mode(Mode::Deep).hold();
    let blocks = held.record().blocks();
    let late = blocks
        .iter()
        .filter(|block| block.row.size_bytes == 1000)
        .count();
    assert_eq!(late, 100, "deep mode sees every block after the storm");
    held.finish_ok();
}

#[test]
fn a_handler_closes() {
    storm("close");
}

#[test]
fn a_handler_allocates() {
    storm("malloc");
}

#[test]
fn a_handler_jumps_out_of_a_hook() {
    storm("jump");
}
