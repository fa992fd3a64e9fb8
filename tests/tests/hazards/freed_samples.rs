//! Small samples that are freed.
//!
//! Guards: a freed sample is an ordinary free block. One that is freed once more
//! ends the program as glibc says, and none keeps the heap from shrinking but in
//! glibc's own cache of each thread, which holds the heap's end in any program.

use memguard_tests::Program;

#[test]
fn what_was_sampled_is_seen_by_nobody() {
    let program = Program::fixture("freed_samples");
    let uncached = program.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");
    uncached.assert_same().ok();
}
