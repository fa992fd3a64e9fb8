//! Whether this process has a segment, and how it comes to one.
//!
//! The answer lives in a page that the kernel wipes in a forked child
//! (MADV_WIPEONFORK, [`crate::page`]), so one load tells the child of fork, `_Fork` or a raw
//! clone that it has none. A child gets its own at its first recorded event
//! after some milliseconds of life: one that soon calls exec pays nothing.
//!
//! The parent's segment stays mapped in a child: whoever forks in a signal
//! handler may go back to the hook that the signal came upon, in the child too.
//! It finishes there what it was at, but makes the tables no larger.

use crate::page::{PAGE, Page};
use crate::segment::Segment;
use crate::{
    clock, config, descriptors, file, inherit, learned, mode, modules, nursery, retire, sample,
    stamps, sys, thread, tls, who,
};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use shm_protocol::codes::{State, note};
use shm_protocol::layout::{self, Header};

/// A child lives this long before it gets a segment.
const CHILD_WAITS_MS: u64 = 3;
/// Most that a segment's file may grow to.
const LIMIT_BYTES: u64 = 8 << 30;
/// Mapping without a file: no growth beyond it.
const ANONYMOUS_BYTES: usize = 16 << 20;
/// The same where the program's memory or files are limited.
const SMALL_BYTES: usize = 512 << 10;

/// Values of `Page::phase`. 0 is what a wiped page says.
mod phase {
    pub const NONE: u32 = 0;
    pub const CREATING: u32 = 1;
    pub const READY: u32 = 2;
    pub const DISABLED: u32 = 3;
    pub const WAITING: u32 = 4;
}

#[unsafe(link_section = ".bss.memguard_child")]
static SEGMENT: Segment = Segment::new();
/// Set when the constructor has read the configuration.
static CONFIGURED: AtomicBool = AtomicBool::new(false);
/// Set when this process or an ancestor of the same image had a segment.
#[unsafe(link_section = ".bss.memguard_child")]
static ATTACHED_BEFORE: AtomicBool = AtomicBool::new(false);
/// A seccomp filter is in force: no system calls of our own.
static FROZEN: AtomicBool = AtomicBool::new(false);
/// That filter was there before us: what the loader did may be done again.
static FILTERED: AtomicBool = AtomicBool::new(false);
/// A child shares this memory, or may: its end is not ours.
static SHARED: AtomicBool = AtomicBool::new(false);
/// When the last fork began, by the clock of `coarse_ns`.
#[unsafe(link_section = ".bss.memguard_child")]
static FORKED_NS: AtomicU64 = AtomicU64::new(0);
/// Counts segments of this image's family, so that caches notice a fork.
#[unsafe(link_section = ".data.hot.first")]
static EPOCH: AtomicU32 = AtomicU32::new(1);

/// The segment, if this process has one.
#[inline(always)]
pub fn segment() -> Option<&'static Segment> {
    // SAFETY: null or SEGMENT.
    unsafe { PAGE.segment.load(Ordering::Acquire).as_ref() }
}

/// The segment, made now if it is time for one. For events worth recording.
#[inline]
pub fn segment_for_event() -> Option<&'static Segment> {
    segment().or_else(attach_when_due)
}

/// How many images this process had before, by its file's name.
pub fn image() -> u32 {
    PAGE.image.load(Ordering::Relaxed)
}

/// Number of the segment in this family of forks.
pub fn epoch() -> u32 {
    EPOCH.load(Ordering::Relaxed)
}

/// Whether system calls of our own are forbidden.
pub fn frozen() -> bool {
    FROZEN.load(Ordering::Relaxed)
}

/// Whether this is a child between vfork(2) and exec, in its parent's memory.
///
/// The thread's flag says so to the parent as well while the two part: a
/// signal that was waiting is delivered before the parent takes it back. So
/// the kernel is asked, where we may.
pub fn in_vfork_child() -> bool {
    let flagged = tls::block().flags & tls::flag::VFORK_CHILD != 0;
    let parent = |segment: &Segment| segment.header().pid.load(Ordering::Relaxed);
    flagged && (frozen() || segment().map(parent) != Some(sys::getpid()))
}

/// A seccomp filter is about to be installed.
pub fn freeze() {
    retire::restore_all();
    thread::set_some_aside();
    FROZEN.store(true, Ordering::Relaxed);
    FILTERED.store(false, Ordering::Relaxed);
    if let Some(segment) = segment() {
        segment.freeze(note::SECCOMP_LATER);
    }
}

/// A child that shares this memory is about to be made.
pub fn share() {
    SHARED.store(true, Ordering::Relaxed);
}

/// Whether the caller is a child that shares this memory: it ends itself only.
/// Without such a child the kernel is not asked, as a filter may have come in
/// unseen.
fn in_sharing_child(segment: &Segment) -> bool {
    let flagged = tls::block().flags & tls::flag::VFORK_CHILD != 0;
    let perhaps = (flagged || SHARED.load(Ordering::Relaxed)) && !frozen();
    perhaps && segment.header().pid.load(Ordering::Relaxed) != sys::getpid()
}

/// The program becomes a daemon: libc ends this process by a call of its own.
pub fn end_for_child() {
    forking();
    end();
}

/// It did not: there was no child.
pub fn end_undone() {
    if let Some(segment) = segment() {
        let state = &segment.header().state;
        state.store(State::Ready as u32, Ordering::Release);
    }
}

/// From the constructor: makes the page and the first segment.
pub fn start(filtered: bool) {
    if filtered {
        thread::set_some_aside();
        // SAFETY: a handler that stays mapped.
        unsafe { libc::pthread_atfork(None, None, Some(child_under_filter)) };
    }
    FROZEN.store(filtered, Ordering::Relaxed);
    FILTERED.store(filtered, Ordering::Relaxed);
    if !filtered {
        let page = (&raw const PAGE).cast_mut().cast();
        sys::madvise(page, size_of::<Page>(), libc::MADV_WIPEONFORK);
    }
    CONFIGURED.store(true, Ordering::Release);
    if config::disabled() {
        disable();
    } else {
        create(false);
    }
}

/// In a child forked under a filter. There the kernel wipes nothing on fork
/// (madvise may be forbidden), so the segment is still the parent's: memory
/// of the child's own takes its place.
pub extern "C" fn child_under_filter() {
    if !frozen() || PAGE.segment.load(Ordering::Acquire).is_null() {
        return;
    }
    stamps::close();
    let_go_of_segment();
    let fresh = FILTERED.load(Ordering::Relaxed) && SEGMENT.replace();
    let next = if fresh { phase::NONE } else { phase::DISABLED };
    PAGE.phase.store(next, Ordering::Release);
}

fn let_go_of_segment() {
    PAGE.mail.store(core::ptr::null_mut(), Ordering::Release);
    PAGE.segment.store(core::ptr::null_mut(), Ordering::Release);
}

/// Stops tracking in this process for good.
pub fn disable() {
    stamps::close();
    let_go_of_segment();
    PAGE.phase.store(phase::DISABLED, Ordering::Release);
}

#[cold]
fn attach_when_due() -> Option<&'static Segment> {
    let page = &PAGE;
    let forbidden = frozen() && !FILTERED.load(Ordering::Relaxed);
    if !CONFIGURED.load(Ordering::Relaxed) || config::disabled() || forbidden {
        return None;
    }
    if page.phase.load(Ordering::Acquire) == phase::NONE {
        let forked = FORKED_NS.load(Ordering::Relaxed);
        let since = if forked == 0 {
            clock::coarse_ns()
        } else {
            forked
        };
        page.since_ns.store(since, Ordering::Relaxed);
        nursery::clear();
        page.phase.store(phase::WAITING, Ordering::Release);
    }
    let lived_ns = clock::coarse_ns().saturating_sub(page.since_ns.load(Ordering::Relaxed));
    if page.phase.load(Ordering::Acquire) != phase::WAITING || lived_ns < CHILD_WAITS_MS * 1_000_000
    {
        return None;
    }
    create(true);
    segment()
}

/// Whether this is a child too young for a segment.
pub fn waiting() -> bool {
    PAGE.phase.load(Ordering::Acquire) == phase::WAITING
}

/// Whether this is a forked child that has had no event yet.
pub fn newborn() -> bool {
    CONFIGURED.load(Ordering::Relaxed) && PAGE.phase.load(Ordering::Acquire) == phase::NONE
}

/// Whether the tables are this process's own, and not yet its parent's.
pub fn owned() -> bool {
    let phase = PAGE.phase.load(Ordering::Acquire);
    phase == phase::CREATING || phase == phase::READY
}

/// Whether the tables are those that this forked child's parent had.
pub fn inherited() -> bool {
    CONFIGURED.load(Ordering::Relaxed) && !owned()
}

/// The program is about to fork: its child inherits the moment.
pub fn forking() {
    FORKED_NS.store(clock::coarse_ns(), Ordering::Relaxed);
    learned::forking();
}

/// When the fork that made this child began, by its parent's account in ms.
pub fn forked_ms() -> u64 {
    clock::ms_at(FORKED_NS.load(Ordering::Relaxed))
}

/// Makes the segment. One thread wins; the others go on without meanwhile.
fn create(forked: bool) {
    let page = &PAGE;
    let before = if forked { phase::WAITING } else { phase::NONE };
    let won =
        page.phase
            .compare_exchange(before, phase::CREATING, Ordering::AcqRel, Ordering::Relaxed);
    if won.is_err() {
        return;
    }
    EPOCH.fetch_add(1, Ordering::Relaxed);
    if forked {
        thread::forget_all_but_mine();
        modules::reset();
        descriptors::adopt();
        sample::reseed();
    }
    let Some(notes) = open_segment(forked) else {
        page.phase.store(phase::DISABLED, Ordering::Release);
        return;
    };
    ATTACHED_BEFORE.store(true, Ordering::Relaxed);
    SEGMENT.note(notes | config::notes() | if forked { note::FORKED } else { 0 });
    who::describe(&SEGMENT);
    inherit::record_open_descriptors(&SEGMENT, forked);
    let header = SEGMENT.header();
    header.state.store(State::Ready as u32, Ordering::Relaxed);
    header.magic.store(layout::MAGIC, Ordering::Release);
    page.segment
        .store((&raw const SEGMENT).cast_mut(), Ordering::Release);
    let mail = (&raw const header.mail).cast_mut();
    page.mail.store(mail, Ordering::Release);
    page.phase.store(phase::READY, Ordering::Release);
    mode::start(&SEGMENT);
    nursery::settle(&SEGMENT);
}

/// Room for whoever makes a segment; there is one at a time.
struct Room(UnsafeCell<[u8; 4096]>);

// SAFETY: `room` hands it out within `create` only.
unsafe impl Sync for Room {}

#[unsafe(link_section = ".bss.memguard_tables")]
static ROOM: Room = Room(UnsafeCell::new([0; 4096]));

/// A buffer for the callees of [`create`], one at a time. The stack will not
/// do: a child's first event may come on a coroutine's or handler's small one.
/// For the same reason what follows is not inlined.
pub fn room() -> &'static mut [u8] {
    // SAFETY: as the contract above has it.
    unsafe { &mut *ROOM.0.get() }
}

/// Maps and lays out; a file if possible, else memory only.
fn open_segment(forked: bool) -> Option<u64> {
    if frozen() && forked {
        SEGMENT.lay_out_again();
        return Some(note::SECCOMP_AT_START | note::ANONYMOUS);
    }
    if frozen() {
        return open_anonymous(note::SECCOMP_AT_START, forked);
    }
    who::identify(forked.then_some(&SEGMENT));
    let (file_limit, _) = sys::limit(libc::RLIMIT_FSIZE);
    let (memory_limit, _) = sys::limit(libc::RLIMIT_AS);
    let small = file_limit < LIMIT_BYTES || memory_limit != u64::MAX;
    let limit = LIMIT_BYTES.min(file_limit) & !4095;
    let notes = if small { note::SMALL } else { 0 };
    match file::open(limit, forked) {
        Some(base) => {
            take_over(base, forked);
            SEGMENT.lay_out(base, file::base_bytes(limit), limit, true);
            Some(notes)
        }
        None => open_anonymous(notes, forked),
    }
}

/// The place of the parent's segment is taken: what the two have in common is
/// kept.
fn take_over(base: *mut u8, forked: bool) {
    if forked {
        // SAFETY: fresh, and larger than a header, which is made of atomics.
        who::take_over(&SEGMENT, unsafe { &*base.cast::<Header>() });
        inherit::find(&SEGMENT);
        SEGMENT.let_go();
    }
}

fn open_anonymous(notes: u64, forked: bool) -> Option<u64> {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let small = notes & note::SMALL != 0;
    let bytes = if small { SMALL_BYTES } else { ANONYMOUS_BYTES };
    let base = sys::map(bytes, protection, flags, -1)?;
    take_over(base, forked);
    SEGMENT.lay_out(base, bytes, bytes as u64, false);
    file::forget_own();
    Some(notes | note::ANONYMOUS)
}

/// The process ends normally: marks the segment, and removes its file unless
/// somebody wants to read it.
pub fn end() {
    let Some(segment) = segment() else { return };
    if in_sharing_child(segment) {
        return;
    }
    let keep = match config::keep() {
        config::Keep::Never => false,
        config::Keep::Always => true,
        config::Keep::OnFindings => descriptors::anything_held(segment),
    };
    let state = if keep { State::Ended } else { State::Unwanted };
    let word = &segment.header().state;
    word.store(state as u32, Ordering::Release);
    if !keep && !frozen() {
        file::remove_own();
    }
}
