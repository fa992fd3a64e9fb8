//! Freed samples that are kept for the next ones.
//!
//! Guards: a kept block that is freed once more goes to the allocator first,
//! which ends the program as it would have; and the lowest are kept, so that
//! the heap shrinks. Without the first the program runs on with one block given
//! out twice; without the second most of 60 MB stays resident.

use memguard_tests::Program;

#[test]
fn what_is_kept_is_seen_by_nobody() {
    // glibc's own cache of each thread would hold the heap's end, too.
    let program = Program::fixture("kept_blocks");
    let bare_heap = program.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");
    bare_heap.assert_same().ok();
}
