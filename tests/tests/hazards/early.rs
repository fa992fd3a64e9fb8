//! Heap and descriptors before any constructor has run.
//!
//! Guards: the library's constructor runs even before preinit functions (`-z
//! initfirst`); the allocator is looked for at the first call that needs it,
//! and what the look-up itself allocates comes from an arena of our own, whose
//! blocks are told from the allocator's when they are enlarged or given back.
//! Without the first the preinit descriptor has no stack; without the others
//! `dlsym_may_allocate` ends in a null pointer or an abort.

use memguard_tests::{Program, compile};

#[test]
fn preinit_functions_and_resolvers_may_allocate_and_open() {
    Program::fixture("early").assert_agrees();
}

#[test]
fn dlsym_may_allocate() {
    let library = compile::library("dlsym_callocs");
    Program::fixture("looks_up")
        .preload_after(library)
        .assert_agrees();
}
