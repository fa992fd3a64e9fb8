//! Another preload that wraps the same calls, before ours or after.
//!
//! Guards: originals are the next in order, never libc's by name, and the
//! library's own work goes by raw system calls. Without the first the other's
//! counts are too low; without the second they are too high.

use memguard_tests::{Program, compile};

#[test]
fn wrapped_before_ours() {
    Program::fixture("wrapped")
        .preload_before(compile::library("wrapper"))
        .assert_agrees();
}

#[test]
fn wrapped_after_ours() {
    Program::fixture("wrapped")
        .preload_after(compile::library("wrapper"))
        .assert_agrees();
}
