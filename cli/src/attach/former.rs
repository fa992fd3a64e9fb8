//! The record of the program that a process was before it became one without
//! memguard's library (exec).

use std::os::unix::fs::MetadataExt;

use super::maps::has_library;
use super::process::Running;
use super::records::Record;

/// The newest of these records that is of such a process; none where the
/// library is in it, or may be: its maps cannot be read, or it is just ending.
/// They come by process, oldest first.
#[must_use]
pub fn among<'a>(records: &'a [Record], process: &Running) -> Option<&'a Record> {
    let mut numbered = records
        .iter()
        .rev()
        .filter(|record| record.name.pid == process.inner_pid)
        .peekable();
    numbered.peek()?;
    let namespace = std::fs::metadata(format!("/proc/{}/ns/pid", process.pid)).ok()?;
    let found = numbered.find(|record| {
        record.name.namespace == namespace.ino() && process.started_at(record.name.start_ticks)
    });
    let maps = process.maps();
    let is_without = |maps: &Vec<u8>| !maps.is_empty() && !has_library(maps);
    found.filter(|_| maps.as_ref().is_ok_and(is_without))
}
