//! Any bytes as a segment: the reader must neither panic, nor read past them,
//! nor make more of them than they are long. `scripts/fuzz` runs this.
#![no_main]

#[path = "../../tests/image/mod.rs"]
mod image;

use libfuzzer_sys::fuzz_target;
use shm_protocol::layout::MAGIC;

fuzz_target!(|input: &[u8]| {
    // Magic and version for free: finding them again would be most of the work,
    // and the tests look at wrong ones.
    let mut bytes = input.to_vec();
    if let Some(start) = bytes.get_mut(..16) {
        start[..8].copy_from_slice(&MAGIC.to_le_bytes());
        start[8..].copy_from_slice(&image::abi().to_le_bytes());
    }
    let _ = image::inspect::inspect(&bytes);
});
