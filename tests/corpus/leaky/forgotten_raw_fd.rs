//! `checksum` takes the descriptor out of its File for a C-like call, and puts
//! it back only if the file is long enough.

#[path = "../lib/corpus.rs"]
mod corpus;

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::path::Path;

#[inline(never)]
fn checksum(path: &Path, too_short: bool) -> Option<u32> {
    let raw = File::open(path).ok()?.into_raw_fd();
    if too_short {
        corpus::hold("checksum", 1);
        return None;
    }
    // SAFETY: taken out above.
    let mut file = unsafe { File::from_raw_fd(raw) };
    let mut bytes = [0; 16];
    file.read_exact(&mut bytes).ok()?;
    Some(bytes.iter().map(|&byte| u32::from(byte)).sum())
}

fn main() {
    let path = corpus::scratch().join("data");
    std::fs::write(&path, [7; 64]).unwrap();
    let mut clock = corpus::begin();
    let mut sum = 0;
    while clock.beat(10.0) {
        sum += checksum(&path, corpus::one_in(5)).unwrap_or(0);
    }
    assert!(sum > 0);
    corpus::finish();
}
