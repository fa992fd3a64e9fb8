//! Who else has the same object open: other descriptors of the target, other
//! processes. An object with two owners is nobody's to end.

use std::collections::{HashMap, HashSet};

use super::same_file::has_own_table;
use crate::kernel::{ProcDir, threads};
use rustix::fs::{AtFlags, OFlags, RawDir};

/// What the kernel calls a timerfd, all of which share one inode.
const TIMER: &[u8] = b"anon_inode:[timerfd]";

/// One place where an object is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The process
    pub pid: i32,
    /// Its number there
    pub fd: i32,
}

/// Where the wanted sockets and pipes are open, by inode.
#[derive(Debug, Default)]
pub struct Owners {
    by_inode: HashMap<u64, Vec<Owner>>,
    by_file: HashMap<(u64, u64), Vec<Owner>>,
    timers: Vec<Owner>,
    by_timer: HashMap<Owner, usize>,
    /// Processes whose descriptors we may not see
    pub hidden: usize,
}

impl Owners {
    /// Looks through every process that we may look into.
    #[must_use]
    pub fn of(inodes: &HashSet<u64>) -> Self {
        Self::with_files(inodes, &HashSet::new())
    }

    /// The same, and of these files: each descriptor of every process is asked
    /// what it is.
    #[must_use]
    pub fn with_files(inodes: &HashSet<u64>, files: &HashSet<(u64, u64)>) -> Self {
        let mut found = Self::default();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        for pid in pids {
            if found.look(pid, inodes, files).is_none() && pid != 1 {
                found.hidden += usize::from(is_alive(pid));
            }
            for thread in with_own_table(pid) {
                found.look(thread, inodes, files);
            }
        }
        found.by_timer = super::same_file::counts(&found.timers);
        found
    }

    fn look(&mut self, pid: i32, wanted: &HashSet<u64>, files: &HashSet<(u64, u64)>) -> Option<()> {
        let dir = ProcDir::open(pid).ok()?;
        let links = dir
            .open_file("fd", OFlags::RDONLY | OFlags::DIRECTORY)
            .ok()?;
        let mut buffer = vec![std::mem::MaybeUninit::uninit(); 64 << 10];
        let mut entries = RawDir::new(&links, &mut buffer);
        while let Some(Ok(entry)) = entries.next() {
            let Some(fd) = entry.file_name().to_str().ok().and_then(|n| n.parse().ok()) else {
                continue;
            };
            let link = rustix::fs::readlinkat(&links, entry.file_name(), Vec::new());
            if link.as_ref().is_ok_and(|text| text.as_bytes() == TIMER) {
                self.timers.push(Owner { pid, fd });
            }
            let is_path = link
                .as_ref()
                .is_ok_and(|text| text.as_bytes().starts_with(b"/"));
            if is_path && !files.is_empty() {
                let stat = rustix::fs::statat(&links, entry.file_name(), AtFlags::empty());
                let object = stat.map(|stat| (stat.st_dev, stat.st_ino));
                if let Some(object) = object.ok().filter(|object| files.contains(object)) {
                    self.by_file
                        .entry(object)
                        .or_default()
                        .push(Owner { pid, fd });
                }
            }
            let inode = link
                .ok()
                .and_then(|text| crate::kernel::text::bracketed(text.as_bytes()));
            if let Some(inode) = inode.filter(|inode| wanted.contains(inode)) {
                self.by_inode
                    .entry(inode)
                    .or_default()
                    .push(Owner { pid, fd });
            }
        }
        Some(())
    }

    /// How often this timerfd's file is open, as far as that is known.
    #[must_use]
    pub fn of_timer(&self, owner: Owner) -> Option<usize> {
        self.by_timer.get(&owner).copied()
    }

    /// Everyone who has that file open.
    #[must_use]
    pub fn of_file(&self, object: (u64, u64)) -> &[Owner] {
        self.by_file.get(&object).map_or(&[], Vec::as_slice)
    }

    /// Everyone who has it open.
    #[must_use]
    pub fn of_inode(&self, inode: u64) -> &[Owner] {
        self.by_inode.get(&inode).map_or(&[], Vec::as_slice)
    }
}

/// Threads that took a descriptor table of their own, by unshare(2): what they
/// hold is listed under their own numbers only.
fn with_own_table(pid: i32) -> Vec<i32> {
    let ids = ProcDir::open(pid).and_then(|dir| threads::ids(&dir));
    let mut ids = ids.unwrap_or_default();
    ids.retain(|tid| *tid != pid && has_own_table(pid, *tid));
    ids
}

fn is_alive(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}/exe")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_duplicate_is_a_second_owner() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let path = format!("/proc/self/fd/{}", one.as_raw_fd());
        let inode = std::fs::metadata(path).unwrap().ino();
        let me = std::process::id() as i32;
        let owners = |inode| Owners::of(&HashSet::from([inode])).of_inode(inode).to_vec();
        assert_eq!(
            owners(inode),
            [Owner {
                pid: me,
                fd: one.as_raw_fd()
            }]
        );
        let again = one.try_clone().unwrap();
        assert_eq!(owners(inode).len(), 2);
        drop(again);
    }
}
