//! The segment itself, read as the command line reads it, but not reconciled
//! with the kernel: here a wrong row of the library shows as a wrong row.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use shm_protocol::codes::{Counter, Kind};
use shm_protocol::view::{BlockInfo, DescriptorInfo, SiteInfo, View};

use crate::held::open_fds;

/// A copy of a segment.
#[derive(Debug)]
pub struct Record {
    bytes: Vec<u8>,
}

impl Record {
    /// Reads a segment file as far as it is in use: it is sparse beyond.
    #[track_caller]
    pub fn read(path: &Path) -> Self {
        let start = Self {
            bytes: bytes_of(path, shm_protocol::layout::DATA_AT as u64),
        };
        let used = start.view().header().used_bytes;
        Self {
            bytes: bytes_of(path, used),
        }
    }

    /// Reads the segment file of a process.
    #[track_caller]
    pub fn of(pid: u32, folder: &Path) -> Self {
        let files = files_of(pid, folder);
        assert_eq!(files.len(), 1, "process {pid} has one segment: {files:?}");
        Self::read(&files[0])
    }

    /// The bounds-checked reader.
    #[track_caller]
    pub fn view(&self) -> View<'_> {
        View::new(&self.bytes).unwrap_or_else(|e| panic!("not a segment: {e}"))
    }

    /// A counter of the library.
    #[track_caller]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.view().counter(counter)
    }

    /// Whether a bit of `codes::note` is set.
    #[track_caller]
    pub fn notes(&self, bit: u64) -> bool {
        self.view().header().notes & bit != 0
    }

    /// The descriptor rows above standard error.
    #[track_caller]
    pub fn fd_rows(&self) -> Vec<DescriptorInfo> {
        let rows = self.view().descriptors();
        rows.into_iter().filter(|row| row.fd > 2).collect()
    }

    /// The live rows of the heap.
    #[track_caller]
    pub fn blocks(&self) -> Vec<BlockInfo> {
        self.view().blocks()
    }

    /// The heap's sites.
    #[track_caller]
    pub fn heap_sites(&self) -> Vec<SiteInfo> {
        let sites = self.view().sites();
        sites
            .into_iter()
            .filter(|site| site.kind == Kind::Heap)
            .collect()
    }

    /// Fails if a row says open of a number that is closed, or the other way
    /// round: every descriptor of the program went through a hook.
    #[track_caller]
    pub fn assert_rows_are_true(&self, pid: u32) {
        let open: Vec<i32> = open_fds(pid).into_iter().filter(|fd| *fd > 2).collect();
        let rows: Vec<i32> = self.fd_rows().iter().map(|row| row.fd as i32).collect();
        assert_eq!(rows, open, "the library's rows and the kernel disagree");
    }
}

/// The segment files of a process, in any user's folder.
pub fn files_of(pid: u32, folder: &Path) -> Vec<PathBuf> {
    let pid = pid.to_string();
    let of_pid = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let parts: Vec<&str> = name.split('.').collect();
        parts.len() == 4 && parts[1] == pid
    };
    let users = entries(folder).into_iter();
    users
        .flat_map(|user| entries(&user))
        .filter(of_pid)
        .collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(dir).into_iter().flatten();
    read.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[track_caller]
fn bytes_of(path: &Path, length: u64) -> Vec<u8> {
    let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    file.take(length)
        .read_to_end(&mut bytes)
        .expect("a segment can be read");
    bytes
}
