//! When each descriptor was last used, to the second.
//!
//! A use stores the library's tick at the descriptor's number (`FdStamps`), if
//! that is not there yet: no clock, no clearing, any number of readers. The
//! tick moves whenever a hook reads the clock; a thread that does nothing but
//! read and write reads it once in [`EVERY`] uses.
//!
//! Creation counts as a use, so that a number does not keep the stamp of its
//! last holder. 0 means that nothing is known.

use crate::page::{FIRST, PAGE};
use crate::segment::Segment;
use crate::tls::{self, flag};
use crate::{caches, clock, descriptors, live, mode, traps};
use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use shm_protocol::activity::{self, Pause, TRAPPED};
use shm_protocol::codes::Section;
use shm_protocol::mailbox::mail;

/// Numbers of the first run, found without a look-up.
pub const FIRST_ROWS: usize = 512;
/// Numbers from here on are not stamped: their runs would be made real in
/// more than one part.
pub const NUMBERS: u32 = 1 << 17;
/// Uses of a thread between two looks at the clock.
const EVERY: u32 = 128;
/// What a use takes from `Block::flags`: the flags proper lie below.
pub const USE: u32 = 1 << 8;
/// The same of a call that waits for events: it is dear anyway.
pub const WAIT: u32 = 32 * USE;

/// Descriptors may be another process's: no stamp means anything any more.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// A descriptor was made: from now on it counts.
#[inline(always)]
pub fn born(segment: &Segment, fd: u32) {
    let stamps = &PAGE.stamps;
    if traps::any() || u64::from(fd) >= stamps.below.load(Ordering::Acquire) {
        return born_high(segment, fd);
    }
    let first = FIRST.load(Ordering::Relaxed);
    // SAFETY: it was stored before `below`, and covers so many numbers.
    let place = unsafe { &*first.add(fd as usize) };
    place.store(stamps.now.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// The same of a number above the first run, or where there are traps.
#[cold]
#[inline(never)]
fn born_high(segment: &Segment, fd: u32) {
    if run_of(fd).load(Ordering::Relaxed).is_null() {
        place(segment, fd);
    }
    traps::forget(fd);
    if let Some(place) = known(fd) {
        place.store(PAGE.stamps.now.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Where a number is stamped, made real and made known to the stubs.
#[cold]
fn place(segment: &Segment, fd: u32) -> Option<&'static AtomicU32> {
    let number = u64::from(fd);
    if fd >= NUMBERS || PAGE.stamps.below.load(Ordering::Relaxed) == 0 {
        return None;
    }
    while number >= segment.rows(Section::FdStamps) {
        if !segment.double(Section::FdStamps) {
            return None;
        }
    }
    let place = segment.row::<AtomicU32>(Section::FdStamps, number, true)?;
    let known = run_of(fd);
    if known.load(Ordering::Relaxed).is_null() {
        let start = (&raw const *place).wrapping_sub(fd as usize);
        known.store(start.cast_mut(), Ordering::Release);
    }
    Some(place)
}

fn run_of(fd: u32) -> &'static AtomicPtr<AtomicU32> {
    let bit = (fd | (FIRST_ROWS as u32 - 1)).ilog2();
    &PAGE.stamps.runs[bit as usize & 31]
}

/// Where a number is stamped, if it is.
fn known(fd: u32) -> Option<&'static AtomicU32> {
    let run = run_of(fd).load(Ordering::Acquire);
    // SAFETY: `place` stores a run here only when all of it is real; it covers
    // every number with this highest bit, and runs are never unmapped.
    (!run.is_null()).then(|| unsafe { &*run.add(fd as usize) })
}

/// The number's next use goes by [`traps::hit`].
pub fn trap(fd: u32) {
    if let Some(place) = known(fd) {
        place.fetch_or(TRAPPED, Ordering::AcqRel);
    }
}

/// A hook's own descriptor is in use. True if it was hung up: a write to it
/// must not be made.
pub fn touch(fd: c_int) -> bool {
    let block = tls::block();
    block.flags = block.flags.wrapping_sub(USE);
    if block.flags as i32 >= 0 || look_at_clock() {
        stamp(fd as u32)
    } else {
        traps::is_hung_up(fd as u32)
    }
}

fn stamp(fd: u32) -> bool {
    let now = PAGE.stamps.now.load(Ordering::Relaxed);
    match known(fd) {
        Some(place) if place.load(Ordering::Relaxed) == now => false,
        Some(place) => traps::hit(fd, place) != 0,
        None => traps::is_hung_up(fd),
    }
}

/// A thread's uses are counted out: lets the tick move. False where this
/// thread's descriptors are not the segment's.
///
/// Such a thread's count is never filled up, so each use of it comes here.
#[unsafe(link_section = ".text.hot")]
pub extern "C" fn look_at_clock() -> bool {
    let block = tls::block();
    let kept = block.flags & flag::ALL;
    if kept & (flag::VFORK_CHILD | flag::OWN_FILES) != 0 {
        block.flags = kept | flag::COUNTED_OUT;
        return kept & flag::OWN_FILES == 0 && !live::in_vfork_child();
    }
    block.flags = kept | (EVERY * USE);
    if let Some(segment) = live::segment() {
        mode::tick(segment, clock::now_ms());
    }
    true
}

/// The tick moves. The stamps' value moves first: a reader takes a stamp that
/// is ahead of the tick for a use just now.
#[cold]
pub fn advance(segment: &Segment, second: u64) {
    let header = segment.header();
    let before = header.tick_s.load(Ordering::Relaxed);
    if second <= before {
        return;
    }
    PAGE.stamps
        .now
        .fetch_max(second as u32 + 1, Ordering::AcqRel);
    let won = header
        .tick_s
        .compare_exchange(before, second, Ordering::AcqRel, Ordering::Relaxed);
    if caches::want_quiet() {
        header.mail.fetch_or(mail::QUIET, Ordering::Relaxed);
    }
    if won.is_ok() && second - before > 1 {
        let pause = Pause {
            from_s: before as u32,
            to_s: second as u32,
        };
        activity::keep(&header.pauses, pause);
    }
}

/// Uses are seen from now on. What was stamped before may have been used at
/// any time since.
pub fn open(segment: &Segment) {
    if STOPPED.load(Ordering::Relaxed) || descriptors::gated() {
        return;
    }
    let stamps = &PAGE.stamps;
    let first = segment.in_run::<AtomicU32>(Section::FdStamps, 0, 0, FIRST_ROWS, true);
    let Some(first) = first else { return };
    stamps.now.fetch_max(
        segment.header().tick_s.load(Ordering::Relaxed) as u32 + 1,
        Ordering::Relaxed,
    );
    FIRST.store(first.as_ptr().cast_mut(), Ordering::Release);
    stamps.below.store(FIRST_ROWS as u64, Ordering::Release);
    for run in 0..segment.run_count(Section::FdStamps) {
        refresh(segment, run);
    }
}

fn refresh(segment: &Segment, run: usize) {
    let (first, rows) = segment.run_rows(Section::FdStamps, run);
    let places = segment.in_run::<AtomicU32>(Section::FdStamps, run, 0, rows as usize, false);
    let now = PAGE.stamps.now.load(Ordering::Relaxed);
    let known = places.unwrap_or_default().iter();
    known
        .filter(|place| place.load(Ordering::Relaxed) != 0)
        .for_each(|place| {
            let trapped = place.load(Ordering::Relaxed) & TRAPPED;
            place.store(now | trapped, Ordering::Relaxed);
        });
    // Makes the run known to the stubs again.
    if places.is_some() {
        place(segment, first as u32);
    }
}

/// Uses are not seen any more. The next segment's ticks begin anew.
pub fn close() {
    let stamps = &PAGE.stamps;
    stamps.below.store(0, Ordering::Release);
    for run in &stamps.runs {
        run.store(core::ptr::null_mut(), Ordering::Release);
    }
    stamps.now.store(0, Ordering::Relaxed);
}

/// The same for good: a child shares this memory and has other descriptors.
/// What was stamped so far says nothing any more.
pub fn stop() {
    STOPPED.store(true, Ordering::Relaxed);
    close();
    let Some(segment) = live::segment() else {
        return;
    };
    for run in 0..segment.run_count(Section::FdStamps) {
        let (_, rows) = segment.run_rows(Section::FdStamps, run);
        let places = segment.in_run::<AtomicU32>(Section::FdStamps, run, 0, rows as usize, false);
        let places = places.unwrap_or_default().iter();
        places.for_each(|place| place.store(0, Ordering::Relaxed));
    }
}
