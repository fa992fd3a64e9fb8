//! Who else has the same object open: other descriptors of the target, other
//! processes. An object with two owners is nobody's to end.
//!
//! A socket has an inode of its own. Of all else, which may share one, the
//! kernel compares the open files.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;

use crate::attach::process::pids;
use crate::kernel::{ProcDir, kcmp::have_own_tables, text, threads};
use crate::snapshot::FdFact;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, OFlags, RawDir, StatxFlags, statx};

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct Sought {
    /// Sockets and pipes
    inodes: HashSet<u64>,
    /// Files with a path, by device and inode
    files: HashSet<(u64, u64)>,
    /// Kinds that share one inode, by the kernel's name for them
    links: HashSet<Vec<u8>>,
}

impl Sought {
    /// Sockets and pipes of these inodes.
    #[must_use]
    pub fn inodes(inodes: impl IntoIterator<Item = u64>) -> Self {
        Self {
            inodes: inodes.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Adds whatever this descriptor names.
    pub fn add(&mut self, fact: &FdFact) {
        let path = fact.path.as_deref().unwrap_or_default();
        if path.starts_with("anon_inode:") {
            self.links.insert(path.as_bytes().to_vec());
        } else if path.starts_with('/') {
            self.files.insert(fact.object);
        } else {
            self.inodes.insert(fact.object.1);
        }
        // Whoever holds an AF_UNIX socket's other end would notice.
        let peer = fact.socket.as_ref().and_then(|socket| socket.peer_inode);
        self.inodes.extend(peer);
    }

    fn file(&self, links: &OwnedFd, name: &CStr, link: &[u8]) -> Option<(u64, u64)> {
        // A file system that does not answer is not asked.
        let flags = AtFlags::STATX_DONT_SYNC;
        let object = || {
            let stat = statx(links, name, flags, StatxFlags::INO).ok()?;
            let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
            Some((device, stat.stx_ino))
        };
        let may_be = link.starts_with(b"/") && !self.files.is_empty();
        let object = may_be.then(object).flatten();
        object.filter(|object| self.files.contains(object))
    }
}

/// One place where an object is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The process
    pub pid: i32,
    /// Its number there
    pub fd: i32,
}

/// Where what is sought is open.
#[derive(Debug, Default)]
pub struct Owners {
    by_inode: HashMap<u64, Vec<Owner>>,
    by_object: HashMap<(u64, u64), Vec<Owner>>,
    alike: Vec<Owner>,
    by_file: HashMap<Owner, usize>,
    /// Processes whose descriptors we may not see
    pub hidden: usize,
}

impl Owners {
    /// Looks through every process that we may look into.
    #[must_use]
    pub fn of(sought: &Sought) -> Self {
        let mut found = Self::default();
        for pid in pids() {
            if found.look(pid, sought).is_none() && pid != 1 {
                found.hidden += usize::from(is_alive(pid));
            }
            for thread in with_own_table(pid) {
                found.look(thread, sought);
            }
        }
        found.by_file = super::same_file::counts(&found.alike);
        found
    }

    /// The same among these processes only, of sockets.
    #[must_use]
    pub fn among(pids: impl IntoIterator<Item = i32>, sought: &Sought) -> Self {
        let mut found = Self::default();
        for pid in pids {
            found.look(pid, sought);
        }
        found
    }

    fn look(&mut self, pid: i32, sought: &Sought) -> Option<()> {
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
            let owner = Owner { pid, fd };
            let Ok(link) = rustix::fs::readlinkat(&links, entry.file_name(), Vec::new()) else {
                continue;
            };
            let link = link.as_bytes();
            let inode = text::bracketed(link).filter(|inode| sought.inodes.contains(inode));
            if let Some(inode) = inode {
                self.by_inode.entry(inode).or_default().push(owner);
            }
            let is_socket = link.starts_with(b"socket:");
            let listed = inode.is_some() && !is_socket || sought.links.contains(link);
            let file = sought.file(&links, entry.file_name(), link);
            if let Some(object) = file {
                self.by_object.entry(object).or_default().push(owner);
            }
            if listed || file.is_some() {
                self.alike.push(owner);
            }
        }
        Some(())
    }

    /// How often this very open file is open, as far as that is known; not of
    /// sockets.
    #[must_use]
    pub fn of_open_file(&self, owner: Owner) -> Option<usize> {
        self.by_file.get(&owner).copied()
    }

    /// Everyone who has that file open.
    #[must_use]
    pub fn of_file(&self, object: (u64, u64)) -> &[Owner] {
        self.by_object.get(&object).map_or(&[], Vec::as_slice)
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
    ids.retain(|tid| *tid != pid && have_own_tables(pid, *tid));
    ids
}

fn is_alive(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}/exe")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_duplicate_is_a_second_owner() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let path = format!("/proc/self/fd/{}", one.as_raw_fd());
        let inode = std::fs::metadata(path).unwrap().ino();
        let me = std::process::id() as i32;
        // Children that other tests start have all of this process's, until they exec.
        let owners = |inode| {
            let mut all = Owners::of(&Sought::inodes([inode]))
                .of_inode(inode)
                .to_vec();
            all.retain(|owner| owner.pid == me);
            all
        };
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

    #[test]
    fn two_opens_of_a_file_are_two_and_a_duplicate_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        std::fs::write(&path, "x").unwrap();
        let open = || std::fs::File::open(&path).unwrap();
        let (one, other) = (open(), open());
        let again = one.try_clone().unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        let mut sought = Sought::default();
        sought.add(&FdFact {
            path: path.to_str().map(str::to_owned),
            object: (meta.dev(), meta.ino()),
            ..FdFact::default()
        });
        let pid = std::process::id() as i32;
        // Children that other tests start have all of these too, until they exec.
        let as_they_are = || {
            let owners = Owners::of(&sought);
            let times = |file: &std::fs::File| {
                let fd = file.as_raw_fd();
                owners.of_open_file(Owner { pid, fd })
            };
            ([&one, &other, &again].map(times) == [Some(2), Some(1), Some(2)]).then_some(())
        };
        crate::kernel::testing::wait_for(as_they_are);
    }
}
