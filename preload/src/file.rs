//! The segment's file: its folder, its name, its end.

use crate::page::PAGE;
use crate::segment::{BASE_BYTES, FIRST_BYTES};
use crate::text::Text;
use crate::{config, prune, sys, who};
use core::sync::atomic::{AtomicU64, Ordering};

/// A file that may not grow to so much is not worth it.
const LEAST_BYTES: u64 = 256 << 10;
/// With less than that, tables would soon stop growing: memory is better.
const LEAST_FREE_BYTES: u64 = 128 << 10;

/// The user's folder, as last found to be ours alone.
#[unsafe(link_section = ".bss.memguard_child")]
static FOLDER: File = File(AtomicU64::new(0), AtomicU64::new(0));
/// Path of the segment's file, for its removal.
#[unsafe(link_section = ".bss.memguard_child")]
static PATH: Path = Path([const { AtomicU64::new(0) }; 64]);

/// A path in words, so that writing and reading it need no lock.
struct Path([AtomicU64; 64]);

impl Path {
    fn set(&self, text: &Text) {
        who::store_text(&self.0, text.bytes());
    }

    fn get(&self) -> [u8; 513] {
        let mut bytes = [0u8; 513];
        for (word, chunk) in self.0.iter().zip(bytes.chunks_exact_mut(8)) {
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        bytes
    }
}

/// Makes the file, maps its start and makes that real.
#[inline(never)]
pub fn open(limit: u64, forked: bool) -> Option<*mut u8> {
    if limit < LEAST_BYTES {
        return None;
    }
    let mut path = Text::new();
    make_folder(&mut path)?;
    let folder = path.bytes().len();
    let fd = create_exclusive(&mut path, forked)?;
    let roomy = sys::free_bytes(fd).is_none_or(|free| free >= LEAST_FREE_BYTES);
    let base = (roomy && sys::ftruncate(fd, limit) == 0)
        .then(|| map_base(fd, base_bytes(limit)))
        .flatten();
    sys::close(fd);
    match base {
        Some(base) => {
            PATH.set(&path);
            if prune::is_due(forked) {
                prune::dead_neighbours(path.cut(folder), who::namespace());
            }
            Some(base)
        }
        None => {
            sys::unlink(path.path());
            None
        }
    }
}

/// What is mapped of a file that may grow so far.
pub fn base_bytes(limit: u64) -> usize {
    limit.min(BASE_BYTES as u64) as usize
}

fn map_base(fd: isize, bytes: usize) -> Option<*mut u8> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let base = sys::map(bytes, protection, libc::MAP_SHARED, fd)?;
    sys::madvise(base, bytes, libc::MADV_DONTDUMP);
    let real = sys::madvise(base, FIRST_BYTES, libc::MADV_POPULATE_WRITE) == 0;
    if !real {
        sys::unmap(base, bytes);
    }
    real.then_some(base)
}

/// Puts `<dir>/<uid>/` into `path`, if that is ours alone.
#[inline(never)]
fn make_folder(path: &mut Text) -> Option<()> {
    let uid = sys::geteuid();
    path.push(config::dir());
    let shared = path.bytes().len();
    path.push(b"/").number(u64::from(uid));
    // An ancestor has seen to this very folder.
    let found = match sys::lstat(path.path()).filter(|found| FOLDER.is(found)) {
        Some(found) => found,
        None => make_both(path, shared, uid)?,
    };
    let ours = found.st_uid == uid
        && found.st_mode & libc::S_IFMT == libc::S_IFDIR
        && found.st_mode & 0o077 == 0;
    if ours {
        FOLDER.set(&found);
    }
    path.push(b"/");
    ours.then_some(())
}

/// Makes the folder of all users, whose path is `shared` bytes long, and the
/// user's, as far as they are not there.
fn make_both(path: &mut Text, shared: usize, uid: u32) -> Option<libc::stat> {
    let mut parent = Text::new();
    parent.push(path.bytes().get(..shared)?);
    if is_strangers_link(sys::lstat(parent.path()), uid) {
        return None;
    }
    if let Some(found) = sys::lstat(path.path()) {
        return Some(found);
    }
    if sys::mkdir(parent.path(), 0o1777) == 0 {
        sys::chmod(parent.path(), 0o1777);
    } else if is_strangers_link(sys::lstat(parent.path()), uid) {
        return None;
    }
    sys::mkdir(path.path(), 0o700);
    sys::lstat(path.path())
}

/// /dev/shm is everybody's: a link there may lead anywhere.
fn is_strangers_link(found: Option<libc::stat>, uid: u32) -> bool {
    let is_link = |found: &libc::stat| found.st_mode & libc::S_IFMT == libc::S_IFLNK;
    let found = found.filter(is_link);
    found.is_some_and(|link| link.st_uid != 0 && link.st_uid != uid)
}

/// A file by device and inode.
struct File(AtomicU64, AtomicU64);

impl File {
    fn is(&self, found: &libc::stat) -> bool {
        self.1.load(Ordering::Relaxed) == found.st_ino
            && self.0.load(Ordering::Relaxed) == found.st_dev
    }

    fn set(&self, found: &libc::stat) {
        if !self.is(found) {
            self.0.store(found.st_dev, Ordering::Relaxed);
            self.1.store(found.st_ino, Ordering::Relaxed);
        }
    }
}

/// Creates `<pid namespace>.<pid>.<start>.<n>` with the first free n, and
/// removes what the images before exec left.
#[inline(never)]
fn create_exclusive(path: &mut Text, forked: bool) -> Option<isize> {
    path.number(who::namespace())
        .push(b".")
        .number(u64::from(sys::getpid()))
        .push(b".")
        .number(who::started())
        .push(b".");
    let stem = path.bytes().len();
    for image in 0..1000u64 {
        path.cut(stem).number(image);
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let fd = sys::open(path.path(), flags, 0o600);
        if fd >= 0 {
            // A run reports on the last image of a process only. A forked child
            // is the first image of its process.
            let last_only = config::keep() == config::Keep::Never || config::run_id() != 0;
            if last_only && !(forked && image == 0) {
                retire_neighbours(path, stem, image);
            }
            PAGE.image.store(image as u32, Ordering::Relaxed);
            return Some(fd);
        }
        if fd != -(libc::EEXIST as isize) {
            return None;
        }
    }
    None
}

/// The image before this one stands beside the first free n.
fn retire_neighbours(path: &mut Text, stem: usize, image: u64) {
    for neighbour in [image.checked_sub(1), Some(image + 1)]
        .into_iter()
        .flatten()
    {
        remove(path.cut(stem).number(neighbour));
    }
    path.cut(stem).number(image);
}

/// Removes a segment's file and what the last look left beside it.
pub fn remove(path: &mut Text) {
    sys::unlink(path.path());
    sys::unlink(path.push(b".look").path());
}

/// Removes the file of this process's own segment, if it has one.
pub fn remove_own() {
    let path = PATH.get();
    let path = core::ffi::CStr::from_bytes_until_nul(&path).unwrap_or_default();
    if !path.is_empty() {
        remove(Text::new().push(path.to_bytes()));
    }
}

/// There is none.
pub fn forget_own() {
    PATH.set(&Text::new());
}
