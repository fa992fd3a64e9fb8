//! Caches that the program has registered.

use super::{View, u64_at};
use crate::caches::{CacheRow, NAME_BYTES, ROWS, is_size};
use crate::codes::Section;
use core::mem::offset_of;

/// One of them, as of its last measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheInfo {
    /// Its number: what a command names it by, with the generation.
    pub number: u64,
    /// Counts what was registered under that number.
    pub generation: u64,
    /// `cache_flag` bits.
    pub flags: u64,
    /// As the program calls it; any bytes.
    pub name: Vec<u8>,
    /// Its size when it was asked last, if it ever was, and knew it.
    pub size_bytes: Option<u64>,
    /// When that was.
    pub measured_ms: u64,
    /// How often it was asked to shrink.
    pub shrinks: u64,
    /// What it said it gave back then, all together.
    pub given_bytes: u64,
    /// Longest time that a callback took.
    pub longest_ns: u64,
}

impl View<'_> {
    /// Those that are registered.
    pub fn caches(&self) -> Vec<CacheInfo> {
        let rows = self.rows(Section::Caches).take(ROWS);
        rows.filter_map(|(number, row)| info(number, row)).collect()
    }
}

fn info(number: u64, row: &[u8]) -> Option<CacheInfo> {
    let generation = u64_at(row, offset_of!(CacheRow, state));
    let measured_ms = u64_at(row, offset_of!(CacheRow, measured_ms));
    let size_bytes = u64_at(row, offset_of!(CacheRow, size_bytes));
    let start = offset_of!(CacheRow, name);
    let name = row.get(start..start + NAME_BYTES).unwrap_or_default();
    let ends = name.iter().position(|byte| *byte == 0);
    (generation & 1 == 1).then(|| CacheInfo {
        number,
        generation,
        flags: u64_at(row, offset_of!(CacheRow, flags)),
        name: name[..ends.unwrap_or(name.len())].to_vec(),
        size_bytes: (measured_ms != 0 && is_size(size_bytes)).then_some(size_bytes),
        measured_ms,
        shrinks: u64_at(row, offset_of!(CacheRow, shrinks)),
        given_bytes: u64_at(row, offset_of!(CacheRow, given_bytes)),
        longest_ns: u64_at(row, offset_of!(CacheRow, longest_ns)),
    })
}
