//! Descriptors that were open before this image or this child began.
//!
//! The kernel's list of them is dear: it makes up a file for each. So an image
//! asks for their number (Linux 6.2), and for each low number until it has all.
//! A forked child, which may live for milliseconds only, does not even ask
//! that, and looks for what its parent had.

use crate::segment::Segment;
use crate::text::leading_number;
use crate::{descriptors, live, prune, sites, sys, who};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use shm_protocol::codes::{Kind, Section};
use shm_protocol::fds::FdInfo;
use shm_protocol::words::Origin;

/// Numbers asked for one by one where /proc is not to be had.
const PROBED: u32 = 1024;
/// Rows of the parent that are looked at.
const ROWS: u64 = 1 << 16;
/// Numbers below are kept as bits; of those above there is room for some.
const LOW: u32 = 64;
/// After so many free numbers in a row only those that the parent had are asked
/// for.
const GAP: u32 = 16;
const HIGH: usize = 16;
/// More of the parent's numbers are not asked for, one by one.
const MOST: usize = LOW as usize + HIGH;

/// What [`find`] found.
struct Found {
    all: AtomicBool,
    low: AtomicU64,
    high: [AtomicU32; HIGH],
    high_count: AtomicU32,
}

#[unsafe(link_section = ".bss.memguard_child")]
static FOUND: Found = Found {
    all: AtomicBool::new(false),
    low: AtomicU64::new(0),
    high: [const { AtomicU32::new(0) }; HIGH],
    high_count: AtomicU32::new(0),
};

impl Found {
    fn forget(&self) {
        self.low.store(0, Relaxed);
        self.high_count.store(0, Relaxed);
    }

    /// Notes the number if it is open; whether it is.
    fn probe(&self, fd: u32) -> bool {
        let open = sys::is_open(fd);
        if open && fd < LOW {
            self.low.fetch_or(1 << fd, Relaxed);
        } else if open {
            let at = self.high_count.fetch_add(1, Relaxed);
            if let Some(place) = self.high.get(at as usize) {
                place.store(fd, Relaxed);
            }
        }
        open
    }

    fn each(&self, mut enter: impl FnMut(u32)) {
        let low = self.low.load(Relaxed);
        (0..LOW)
            .filter(|fd| low >> fd & 1 == 1)
            .for_each(&mut enter);
        let count = self.high_count.load(Relaxed) as usize;
        let high = self.high.iter().take(count);
        high.for_each(|fd| enter(fd.load(Relaxed)));
    }
}

/// In a forked child, while its parent's segment is still mapped: finds what is
/// open without the kernel's list. A number above the low ones that the parent
/// had no row of will have none in the child either: nobody saw who opened it.
#[inline(never)]
pub fn find(parent: &Segment) {
    FOUND.forget();
    // That of an earlier forebear does not know what our parent opened.
    let mut known = who::is_parents(parent) && parent.rows(Section::Fds) <= ROWS;
    if known {
        let (mut fd, mut gap) = (0, 0);
        while fd < LOW && gap < GAP {
            gap = if FOUND.probe(fd) { 0 } else { gap + 1 };
            fd += 1;
        }
        let asked = rows_from(parent, fd).inspect(|fd| {
            FOUND.probe(*fd);
        });
        known = asked.count() <= MOST;
    }
    let kept = FOUND.high_count.load(Relaxed) as usize <= HIGH;
    FOUND.all.store(known && kept, Relaxed);
}

/// The numbers from there on that the parent had, as far as one more than are
/// asked for.
fn rows_from(parent: &Segment, from: u32) -> impl Iterator<Item = u32> {
    let rows = parent.rows(Section::Fds) as u32;
    let held = |fd: &u32| {
        let row = descriptors::known_row(parent, *fd);
        row.is_some_and(|row| !row.is_free())
    };
    (from..rows).filter(held).take(MOST + 1)
}

/// In an image's first process: the same, if the numbers are low.
fn find_by_count() {
    FOUND.forget();
    let mut left = sys::stat(c"/proc/self/fd").map_or(0, |folder| folder.st_size as u64);
    let known = left > 0;
    for fd in 0..LOW {
        if left == 0 {
            break;
        }
        left -= u64::from(FOUND.probe(fd));
    }
    FOUND.all.store(known && left == 0, Relaxed);
}

/// Enters all open descriptors as inherited. The one descriptor that this may
/// take is closed again before it returns.
pub fn record_open_descriptors(segment: &Segment, forked: bool) {
    if live::frozen() {
        return;
    }
    if !forked {
        find_by_count();
    }
    let site = sites::without_stack(segment, Kind::Inherited, 0);
    if FOUND.all.load(Relaxed) {
        FOUND.each(|fd| enter(segment, fd, site));
    } else {
        enter_by_list(segment, site);
    }
}

fn enter_by_list(segment: &Segment, site: u32) {
    let folder = sys::open(c"/proc/self/fd", libc::O_RDONLY | libc::O_DIRECTORY, 0);
    if folder < 0 {
        // In a chroot, say: ask for each of the first numbers instead.
        let open = (0..PROBED).filter(|fd| sys::is_open(*fd));
        return open.for_each(|fd| enter(segment, fd, site));
    }
    let buffer = live::room();
    loop {
        let filled = sys::getdents(folder, buffer);
        if filled == 0 {
            break;
        }
        let mut rest = &buffer[..filled];
        while let Some((name, after)) = prune::next_name(rest) {
            if let Some(fd) = leading_number(name).filter(|fd| *fd != folder as u64) {
                enter(segment, fd as u32, site);
            }
            rest = after;
        }
    }
    sys::close(folder);
}

fn enter(segment: &Segment, fd: u32, site: u32) {
    if let Some(row) = descriptors::row(segment, fd) {
        let origin = Origin { at_ms: 0, site };
        let info = FdInfo {
            origin,
            kind: Kind::Inherited as u8,
            ..FdInfo::default()
        };
        row.insert(fd, &info);
        sites::count_birth(segment, site, 0);
    }
}
