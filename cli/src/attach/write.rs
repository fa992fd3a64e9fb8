//! The few words of a live segment that are written from outside.

use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use shm_protocol::layout::Header;

use super::live::LiveSegment;
use super::process::Running;
use super::read::{Access, open_mapped};

/// Where those words can be written: in the file, or in the process.
#[derive(Debug)]
pub struct Writer {
    file: File,
    base: u64,
}

impl Writer {
    /// Opens the segment's file for writing, else the process's memory.
    ///
    /// # Errors
    /// When neither may be written.
    pub fn open(process: &Running, found: &LiveSegment) -> io::Result<Self> {
        if let Some(file) = open_mapped(process, &found.mapped, Access::Write) {
            return Ok(Self { file, base: 0 });
        }
        let file = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/{}/mem", process.pid))?;
        Ok(Self {
            file,
            base: found.mapped.parts[0].range.start,
        })
    }

    /// Asks for a mode until a moment (0: for good). The moment goes first, as
    /// the library obeys when it sees the mode word change.
    ///
    /// # Errors
    /// When the write fails.
    pub fn want_mode(&self, wanted: u64, until_ms: u64) -> io::Result<()> {
        self.put(offset_of!(Header, wanted_until_ms), until_ms)?;
        self.put(offset_of!(Header, wanted_mode), wanted)
    }

    /// The mode word that the library obeyed last.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn applied_mode(&self) -> io::Result<u64> {
        self.get(offset_of!(Header, applied_mode))
    }

    /// Takes the lock on the segment; false while somebody else has it.
    ///
    /// # Errors
    /// When it cannot be locked.
    pub fn try_lock(&self) -> io::Result<bool> {
        match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unlock(&self) -> io::Result<()> {
        Ok(flock(&self.file, FlockOperation::Unlock)?)
    }

    /// A word of the segment.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn get(&self, at: usize) -> io::Result<u64> {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, self.base + at as u64)?;
        Ok(u64::from_le_bytes(word))
    }

    /// Writes a word of the segment. Only those that are outside's to write.
    ///
    /// # Errors
    /// When the write fails.
    pub fn put(&self, at: usize, value: u64) -> io::Result<()> {
        self.file
            .write_all_at(&value.to_le_bytes(), self.base + at as u64)
    }
}
