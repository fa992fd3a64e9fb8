//! Heap and descriptors before any constructor has run.
//!
//! Guards: every hook initialises lazily, and blocks that the early arena gave
//! out are told from the allocator's when they are enlarged or given back.
//! Without the first the preinit descriptor has no row; without the second the
//! allocator aborts on `early_block`.

use memguard_tests::{Program, compile};

#[test]
fn preinit_functions_and_resolvers_may_allocate_and_open() {
    Program::fixture("early").assert_agrees();
}

/// Guard: memory of the early arena is known to free and realloc. Without it
/// libc aborts on what it never gave out.
#[test]
fn dlsym_may_allocate() {
    let library = compile::library("dlsym_callocs");
    Program::fixture("looks_up")
        .preload_after(library)
        .assert_agrees();
}
