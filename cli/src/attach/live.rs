//! The segment of a running process, found by its own mappings.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use super::maps::{MappedFile, candidates};
use super::name::SegmentName;
use super::process::Running;
use super::read::{self, Segment};
use crate::error::{Error, RecordError};

/// A running process's segment.
#[derive(Debug)]
pub struct LiveSegment {
    /// The copy
    pub segment: Segment,
    /// Where it is mapped
    pub mapped: MappedFile,
}

/// Finds and copies it; none when the process is not instrumented.
///
/// # Errors
/// When the process may not be looked into, or its segment cannot be used.
pub fn find(process: &Running) -> Result<Option<LiveSegment>, Error> {
    for mapped in candidates(&process.maps()?) {
        if mapped.named().is_none() && !has_magic(process, &mapped) {
            continue;
        }
        let segment = match read::from_process(process, &mapped) {
            Ok(segment) => segment,
            Err(error) if !process.still_runs() => return Err(vanished(process, error)),
            Err(error) => return Err(error.into()),
        };
        if belongs_to(&segment, process)? {
            return Ok(Some(LiveSegment { segment, mapped }));
        }
    }
    Ok(None)
}

fn vanished(process: &Running, _: RecordError) -> Error {
    crate::error::TargetError::Vanished(process.pid).into()
}

/// A forked child has its parent's segment mapped until it makes its own.
fn belongs_to(segment: &Segment, process: &Running) -> Result<bool, RecordError> {
    let header = segment
        .view(&format!("The record of process {}", process.pid))?
        .header();
    // Without /proc (in a chroot, say) a process does not know its start time.
    let same_start = header.start_ticks == 0 || process.started_at(header.start_ticks);
    Ok(header.pid as i32 == process.inner_pid && same_start)
}

fn has_magic(process: &Running, mapped: &MappedFile) -> bool {
    let mut magic = [0; 8];
    let memory = File::open(format!("/proc/{}/mem", process.pid));
    let read =
        memory.and_then(|memory| memory.read_exact_at(&mut magic, mapped.parts[0].range.start));
    read.is_ok() && u64::from_le_bytes(magic) == shm_protocol::layout::MAGIC
}

impl MappedFile {
    /// What its file is called, if it has a segment's name.
    #[must_use]
    pub fn named(&self) -> Option<SegmentName> {
        self.path().and_then(|path| SegmentName::of_path(path))
    }

    /// Its path as we see it, if that is the same file: then something can be
    /// kept beside it.
    #[must_use]
    pub fn own_path(&self) -> Option<PathBuf> {
        let path = self.path()?;
        let meta = path.symlink_metadata().ok()?;
        (meta.is_file() && (meta.dev(), meta.ino()) == self.identity()).then(|| path.clone())
    }
}
