//! Handlers run thousands of times a second inside the hooks.
//!
//! Guards: hooks are async-signal-safe, a row that a handler finds half-written
//! is taken over, and the recursion guard notices that it was jumped over.
//! Without the last, nothing is sampled after the jumps.

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
