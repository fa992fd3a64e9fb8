//! Tests that a machine cannot run say so: `scripts/test` prints the list.

use std::fs::{self, OpenOptions};
use std::io::Write;

use crate::artifacts;

/// Notes that a test was skipped and why, for the end of `scripts/test`.
pub fn note(test: &str, why: &str) {
    eprintln!("skipped {test}: {why}");
    let path = artifacts::target().join("skipped-tests.txt");
    let _ = fs::create_dir_all(artifacts::target());
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
        let _ = writeln!(file, "{test}: {why}");
    }
}

/// Whether the tests run as root; notes the skip if they do not.
pub fn root(test: &str) -> bool {
    // SAFETY: geteuid has no preconditions.
    let is_root = unsafe { libc::geteuid() } == 0;
    if !is_root {
        note(test, "needs root");
    }
    is_root
}

/// Whether a file is there; notes the skip if it is not.
pub fn file(test: &str, path: &str) -> bool {
    let there = std::path::Path::new(path).exists();
    if !there {
        note(test, &format!("{path} is not installed"));
    }
    there
}
