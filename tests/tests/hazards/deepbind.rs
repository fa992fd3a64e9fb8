//! RTLD_DEEPBIND: one library's malloc is libc's own, and blocks cross over.
//!
//! Guards: a sampled block is one that libc's own free takes, and a free of a
//! block without a row is nothing. Without the first libc aborts; without the
//! second the record is unsure of what it has.

use super::dlmopen::bypasses;

#[test]
fn blocks_cross_the_border() {
    bypasses("deepbind");
}
