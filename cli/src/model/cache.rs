//! Caches that a program has registered (memguard.h).

use serde::{Deserialize, Serialize};

/// One of them, as of its last measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cache {
    /// As the program calls it
    pub name: String,
    /// Its size, null while it was not measured yet
    pub size_bytes: Option<u64>,
    /// How long ago that was measured
    pub measured_s: Option<f64>,
    /// Whether it can be asked to shrink
    pub shrinks: bool,
    /// How often it was asked
    pub asked: u64,
    /// What it said it let go then, all together
    pub given_bytes: u64,
}
