//! Every open descriptor of a process, read fast from `/proc/PID/fd`.
//!
//! Per descriptor one readlinkat and one statx, both relative to an open
//! directory; fdinfo (an open, a read and a close) only where it tells
//! something. Large tables are read by several threads.

pub mod fdinfo;
pub mod kind;
pub mod stale;

pub use fdinfo::{Facts, Registration, TimerState, Watch};
pub use kind::{Group, Kind};

use super::proc_dir::read_at;
use super::{KernelError, ProcDir, text};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, OFlags, RawDir, Statx, StatxFlags};
use std::mem::MaybeUninit;

/// More registrations than fit in this many bytes of one fdinfo are cut off.
const FDINFO_CAP_BYTES: usize = 16 << 20;

/// Below this count a second thread costs more than it gains.
const PER_THREAD: usize = 1024;

/// How much to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// fdinfo only of the kinds that have facts in it.
    Facts,
    /// The same, but not of epolls.
    WithoutEpolls,
    /// fdinfo of all, for the flags of each descriptor.
    Everything,
}

/// One open descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its number in the process.
    pub fd: i32,
    /// What it is. Sockets are [`Kind::Socket`] until [`super::sockets`] has
    /// found their family.
    pub kind: Kind,
    /// The link's text, lossily decoded: a path, or like `socket:[123]`.
    /// A path is as the process sees it, without ` (deleted)`.
    pub path: String,
    /// True when the file has no name left in any directory.
    pub deleted: bool,
    /// The device as stat(2) gives it.
    pub device: u64,
    /// The inode; the same for all of epoll, eventfd, timerfd, signalfd,
    /// inotify and their like, which share one.
    pub inode: u64,
    /// Size in bytes of a regular file or memfd.
    pub size_bytes: Option<u64>,
    /// Bytes on disk of a regular file.
    pub disk_bytes: Option<u64>,
    /// When the object was made, in seconds since 1970, where the kernel keeps
    /// that: memfds, and pipes (some kernels move a pipe's on when it is
    /// written to). A file's birth says nothing of its descriptor, and the
    /// times of the link below `/proc` only say when somebody first looked:
    /// they stay while the number is closed and used again.
    pub made_at_s: Option<i64>,
    /// The O_* flags if fdinfo was read.
    pub flags: Option<u32>,
    /// What else fdinfo says.
    pub facts: Facts,
}

impl Descriptor {
    /// Whether exec closes it; `None` when fdinfo was not read.
    pub fn close_on_exec(&self) -> Option<bool> {
        let flags = OFlags::from_bits_retain(self.flags?);
        Some(flags.contains(OFlags::CLOEXEC))
    }
}

/// The descriptor table of a process at one moment.
#[derive(Clone, Debug, Default)]
pub struct Descriptors {
    /// In order of their numbers.
    pub open: Vec<Descriptor>,
    /// How many were closed between the listing and the look at them.
    pub vanished: usize,
}

impl Descriptors {
    /// Reads the table. Needs the right to ptrace the process.
    pub fn read(dir: &ProcDir, depth: Depth) -> Result<Self, KernelError> {
        let table = Table::open(dir)?;
        let mut numbers = table.numbers().map_err(|errno| dir.error("fd", errno))?;
        numbers.sort_unstable();
        let mut open = table.look_at_all(&numbers, depth);
        open.sort_unstable_by_key(|descriptor| descriptor.fd);
        let vanished = numbers.len() - open.len();
        Ok(Self { open, vanished })
    }

    /// The descriptor of that number.
    pub fn get(&self, fd: i32) -> Option<&Descriptor> {
        let at = self.open.binary_search_by_key(&fd, |row| row.fd).ok()?;
        self.open.get(at)
    }
}

/// The two directories of a descriptor table, held open.
struct Table {
    links: OwnedFd,
    infos: OwnedFd,
}

impl Table {
    /// A process whose first thread has ended still has its table, but only
    /// its other threads show it.
    fn open(dir: &ProcDir) -> Result<Self, KernelError> {
        let base = super::threads::living_folder(dir);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        Ok(Self {
            links: dir.open_file(&format!("{base}fd"), flags)?,
            infos: dir.open_file(&format!("{base}fdinfo"), flags)?,
        })
    }

    fn numbers(&self) -> rustix::io::Result<Vec<i32>> {
        let mut buffer = vec![MaybeUninit::uninit(); 128 << 10];
        let mut entries = RawDir::new(self.links.as_fd(), &mut buffer);
        let mut numbers = Vec::new();
        while let Some(entry) = entries.next() {
            let name = entry?.file_name().to_str().unwrap_or("").parse();
            numbers.extend(name.ok().filter(|&fd: &i32| fd >= 0));
        }
        Ok(numbers)
    }

    fn look_at_all(&self, numbers: &[i32], depth: Depth) -> Vec<Descriptor> {
        let look_at = |part: &[i32]| -> Vec<Descriptor> {
            let mut look = Look::new(self, depth);
            part.iter().filter_map(|&fd| look.at(fd)).collect()
        };
        let workers = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
        let share = numbers.len().div_ceil(workers).max(PER_THREAD);
        if numbers.len() <= share {
            return look_at(numbers);
        }
        std::thread::scope(|scope| {
            let parts: Vec<_> = numbers
                .chunks(share)
                .map(|part| scope.spawn(move || look_at(part)))
                .collect();
            parts
                .into_iter()
                .flat_map(|part| part.join().unwrap_or_default())
                .collect()
        })
    }
}

/// One thread's way through its share of the table.
struct Look<'a> {
    table: &'a Table,
    depth: Depth,
    link: Vec<MaybeUninit<u8>>,
    /// All sockets are on one device; asking once saves a call for each.
    socket_device: Option<u64>,
}

impl<'a> Look<'a> {
    fn new(table: &'a Table, depth: Depth) -> Self {
        Self {
            table,
            depth,
            // d_path gives at most a page; readlink of /proc cuts there.
            link: vec![MaybeUninit::uninit(); 4096],
            socket_device: None,
        }
    }

    /// `None` when the descriptor was closed meanwhile.
    fn at(&mut self, fd: i32) -> Option<Descriptor> {
        let mut digits = [0; 12];
        let name = decimal(fd, &mut digits);
        let (link, _) =
            rustix::fs::readlinkat_raw(&self.table.links, name, &mut self.link[..]).ok()?;
        let link: &[u8] = link;
        let mut found = Descriptor::from_link(fd, link);
        self.identify(name, &mut found);
        if self.reads_info(found.kind) {
            let text = read_at(self.table.infos.as_fd(), name, FDINFO_CAP_BYTES).ok()?;
            let info = fdinfo::parse(found.kind, &text);
            (found.flags, found.facts) = (info.flags, info.facts);
        }
        Some(found)
    }

    fn reads_info(&self, kind: Kind) -> bool {
        match self.depth {
            Depth::Everything => true,
            Depth::Facts => fdinfo::has_facts(kind),
            Depth::WithoutEpolls => kind != Kind::Epoll && fdinfo::has_facts(kind),
        }
    }

    /// Fills in dev:inode and what else stat knows.
    fn identify(&mut self, name: &str, found: &mut Descriptor) {
        if let (Kind::Socket, Some(device)) = (found.kind, self.socket_device) {
            found.device = device;
            return;
        }
        let Ok(stat) = stat_behind(self.table.links.as_fd(), name) else {
            return;
        };
        found.take_stat(&stat);
        if found.kind == Kind::Socket && found.path.starts_with("socket:[") {
            self.socket_device = Some(found.device);
        }
    }
}

impl Descriptor {
    fn from_link(fd: i32, link: &[u8]) -> Self {
        Self {
            fd,
            kind: kind::from_link(link).unwrap_or(Kind::Other),
            path: text::lossy(link),
            deleted: false,
            device: 0,
            inode: text::bracketed(link).unwrap_or(0),
            size_bytes: None,
            disk_bytes: None,
            made_at_s: None,
            flags: None,
            facts: Facts::None,
        }
    }

    fn take_stat(&mut self, stat: &Statx) {
        self.device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
        self.inode = stat.stx_ino;
        let file_type = FileType::from_raw_mode(stat.stx_mode.into());
        if self.kind == Kind::Other && self.path.starts_with('/') {
            self.kind = kind::from_file_type(file_type);
        }
        self.take_deleted(stat.stx_nlink);
        self.size_bytes = matches!(self.kind, Kind::Regular | Kind::Memfd).then_some(stat.stx_size);
        // Blocks are of 512 bytes whatever the file system's are, stat(2).
        self.disk_bytes = (self.kind == Kind::Regular).then(|| stat.stx_blocks.saturating_mul(512));
        self.made_at_s = match self.kind {
            Kind::Pipe => Some(stat.stx_ctime.tv_sec),
            Kind::Memfd => Some(stat.stx_btime.tv_sec).filter(|&s| s > 0),
            _ => None,
        };
    }
}

impl Descriptor {
    /// A name may end in ` (deleted)` by itself: only a file without links is
    /// deleted for certain. (A removed directory keeps a link on some file
    /// systems.)
    fn take_deleted(&mut self, links: u32) {
        if let Some(name) = self.path.strip_suffix(" (deleted)")
            && (links == 0 || self.kind == Kind::Directory)
        {
            self.path.truncate(name.len());
            self.deleted = true;
        }
    }
}

/// stat of the object behind a link, from what the kernel has at hand: a dead
/// file server must not make us wait.
fn stat_behind(links: BorrowedFd<'_>, name: &str) -> rustix::io::Result<Statx> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    rustix::fs::statx(links, name, AtFlags::STATX_DONT_SYNC, wanted)
}

/// A descriptor number as text, without an allocation.
fn decimal(number: i32, digits: &mut [u8; 12]) -> &str {
    let mut rest = number.unsigned_abs();
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[at..]).unwrap_or("")
}

#[cfg(test)]
mod tests;
