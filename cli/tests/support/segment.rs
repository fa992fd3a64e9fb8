//! Segments made by hand, byte by byte, for readers that must not trust them.

use std::mem::offset_of;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use shm_protocol::codes::{Kind, Section};
use shm_protocol::layout::{self, DATA_AT, DIRECTORY_AT, Extent, Header};
use shm_protocol::words::{Origin, check16};

/// A small whole segment: a header, and rows of descriptors.
pub struct Made {
    /// Its bytes
    pub bytes: Vec<u8>,
    /// The pid in it
    pub pid: i32,
    /// The start time in it
    pub start_ticks: u64,
}

/// Our pid namespace.
pub fn namespace() -> u64 {
    std::fs::metadata("/proc/self/ns/pid").unwrap().ino()
}

impl Made {
    /// Of a process with that pid and start.
    pub fn new(pid: i32, start_ticks: u64) -> Self {
        let mut made = Self {
            bytes: vec![0; DATA_AT + 16 * 4096],
            pid,
            start_ticks,
        };
        let end = made.bytes.len() as u64;
        made.put(offset_of!(Header, magic), layout::MAGIC);
        made.put(
            offset_of!(Header, abi),
            u64::from(layout::ABI_MAJOR) << 32 | u64::from(layout::ABI_MINOR),
        );
        made.put32(offset_of!(Header, state), 1);
        made.put32(offset_of!(Header, pid), pid as u32);
        let uid = rustix::process::geteuid().as_raw();
        made.put32(offset_of!(Header, uid), uid);
        made.put(offset_of!(Header, pid_namespace), namespace());
        made.put(offset_of!(Header, start_ticks), start_ticks);
        made.put(
            offset_of!(Header, created_real_ns),
            1_700_000_000_000_000_000,
        );
        made.put(offset_of!(Header, tick_s), 100);
        made.put32(offset_of!(Header, mode), 1);
        made.put(offset_of!(Header, used_bytes), end);
        made.put(offset_of!(Header, limit_bytes), end);
        made.text(offset_of!(Header, executable), "/opt/handmade");
        made.text(offset_of!(Header, cmdline), "handmade\0--flag");
        made.extent(0, Section::Fds, DATA_AT as u64, 64);
        made
    }

    /// Writes a word.
    pub fn put(&mut self, at: usize, value: u64) {
        self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// Writes half a word.
    pub fn put32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn text(&mut self, at: usize, text: &str) {
        self.bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    }

    /// Writes a directory entry.
    pub fn extent(&mut self, entry: usize, section: Section, offset: u64, rows: u64) {
        let at = DIRECTORY_AT + entry * size_of::<Extent>();
        self.put(
            at + offset_of!(Extent, kind),
            (layout::row_bytes(section) as u64) << 32 | section as u64,
        );
        self.put(at + offset_of!(Extent, offset), offset);
        self.put(at + offset_of!(Extent, rows), rows);
        self.put(at + offset_of!(Extent, version), 1);
    }

    /// Writes the row of a descriptor.
    pub fn descriptor(&mut self, fd: usize, kind: Kind, at_ms: u64) {
        let at = DATA_AT + 32 * fd;
        let origin = Origin { at_ms, site: 0 }.pack();
        let head = (kind as u64) << 56 | 1 << 32;
        self.put(at, origin);
        self.put(
            at + 8,
            head | u64::from(check16(fd as u64, origin, head)) << 16,
        );
    }

    /// The file name that fits its contents.
    pub fn name(&self) -> String {
        format!("{}.{}.{}.0", namespace(), self.pid, self.start_ticks)
    }

    /// Puts it where the library would.
    pub fn keep(&self, folder: &Path) -> PathBuf {
        let uid = rustix::process::geteuid().as_raw();
        self.keep_for(folder, uid)
    }

    /// Puts it into a user's folder.
    pub fn keep_for(&self, folder: &Path, uid: u32) -> PathBuf {
        let folder = folder.join(uid.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(self.name());
        std::fs::write(&path, &self.bytes).unwrap();
        path
    }
}
