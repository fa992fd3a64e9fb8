//! Threads with the smallest stack, 1.25 KiB before its end.
//!
//! Guard: hooks use 1 KiB of stack at most, also deep mode's unwinding and the
//! thread's first event. Without it the thread runs into unmapped memory.

use memguard_tests::{Program, compile};

#[test]
fn near_the_end_of_the_smallest_stack() {
    // Lazy binding alone takes more than that.
    let path = compile::program_with("tiny_stack", &["-Wl,-z,now"]);
    Program::at(&path).arg("512").bare().ok();
    Program::at(&path).arg("1280").assert_agrees();
}
