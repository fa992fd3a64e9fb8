//! Descriptors: what a hook does when one is made or given back.

use crate::segment::{Quick, Segment};
use crate::unwind::Caller;
use crate::{clock, closes, emit, live, mode, nursery, retire, sites, stamps, sys, tls, traps};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use shm_protocol::codes::{Counter, Kind, Section, fd_flag, note};
use shm_protocol::fds::{FdInfo, FdRow, Removed};
use shm_protocol::ring::Action;
use shm_protocol::sites::Amount;
use shm_protocol::words::Origin;

/// Numbers from here on are not tracked.
const HIGHEST: u64 = 1 << 20;

/// Some child shares this memory and this thread block but may have its own
/// descriptors: each event asks the kernel which process it is in.
#[unsafe(link_section = ".data.hot.first")]
static PID_GATE: AtomicBool = AtomicBool::new(false);
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Switches the gate on. From then on an event costs a getpid.
pub fn guard_by_pid() {
    stamps::stop();
    if live::frozen() {
        return;
    }
    // A newborn's first event: the child that is to come must not be taken
    // for it.
    let _ = live::segment_for_event();
    OWNER.store(sys::getpid(), Ordering::Relaxed);
    PID_GATE.store(true, Ordering::Release);
    if let Some(segment) = live::segment() {
        segment.note(note::PID_GATE);
    }
}

/// Whether the gate is up.
pub fn gated() -> bool {
    PID_GATE.load(Ordering::Relaxed)
}

/// Whether this thread's descriptors are those that the segment is about.
pub fn ours() -> bool {
    tls::block().flags & tls::flag::OWN_FILES == 0 && our_process()
}

/// Whether this is the process that the segment is about, or a child in its
/// memory.
pub fn our_process() -> bool {
    if live::in_vfork_child() {
        return false;
    }
    !PID_GATE.load(Ordering::Relaxed) || live::frozen() || passes_the_gate()
}

/// Whether this process is the one that the gate guards. The first event of a
/// forked child moves the gate to itself.
fn passes_the_gate() -> bool {
    if live::newborn() {
        adopt();
    }
    OWNER.load(Ordering::Relaxed) == sys::getpid()
}

/// In a forked child: the gate, if it is up, now guards the child.
pub fn adopt() {
    if PID_GATE.load(Ordering::Relaxed) {
        OWNER.store(sys::getpid(), Ordering::Relaxed);
    }
}

/// The segment, where this thread's descriptors are plainly those that it is
/// about. None: it takes a closer look.
#[inline(always)]
fn plainly_ours() -> Option<&'static Segment> {
    const ODD: u32 = tls::flag::VFORK_CHILD | tls::flag::OWN_FILES;
    let ordinary = tls::block().flags & ODD == 0 && !gated();
    if ordinary { live::segment() } else { None }
}

/// The row of a number, made real if need be.
#[inline(always)]
pub fn row(segment: &Segment, fd: u32) -> Option<&'static FdRow> {
    match segment.quick_row::<FdRow>(Quick::Fds, u64::from(fd)) {
        None => new_row(segment, fd),
        known => known,
    }
}

/// The same of a number whose run is not there yet, or not all real.
#[cold]
#[inline(never)]
fn new_row(segment: &Segment, fd: u32) -> Option<&'static FdRow> {
    let number = u64::from(fd);
    if number >= HIGHEST {
        return None;
    }
    if let Some(row) = segment.row::<FdRow>(Section::Fds, number, true) {
        return Some(row);
    }
    while number >= segment.rows(Section::Fds) {
        if !segment.double(Section::Fds) {
            return None;
        }
    }
    segment.row::<FdRow>(Section::Fds, number, true)
}

/// The row of a number, if it was ever used.
#[inline]
pub fn known_row(segment: &Segment, fd: u32) -> Option<&'static FdRow> {
    segment.row::<FdRow>(Section::Fds, u64::from(fd), false)
}

/// Whether a number has been open ever since a moment, by our account.
pub fn open_since(segment: &Segment, fd: u32, at_ms: u64) -> bool {
    let info = known_row(segment, fd).and_then(|row| row.read(fd));
    info.is_some_and(|info| info.origin.at_ms <= at_ms)
}

/// A descriptor was made. Negative results of calls are let pass.
#[inline(always)]
pub fn born(fd: i32, kind: Kind, flags: u8, caller: Caller) {
    if fd >= 0 {
        born_new(fd as u32, kind, flags, caller);
    }
}

#[unsafe(link_section = ".text.hot")]
#[inline(never)]
fn born_new(fd: u32, kind: Kind, flags: u8, caller: Caller) {
    enter(fd, kind, flags, None, caller);
}

/// A descriptor was made, perhaps as a duplicate.
pub fn born_from(fd: u32, kind: Kind, flags: u8, source: Option<u32>, caller: Caller) {
    enter(fd, kind, flags, source, caller);
}

/// The segment for a new descriptor. None when there is no more to do.
#[cold]
#[inline(never)]
fn segment_for_new(fd: u32, kind: Kind, flags: u8, caller: Caller) -> Option<&'static Segment> {
    if !ours() {
        count_foreign();
        return None;
    }
    let segment = live::segment_for_event();
    if segment.is_none() {
        nursery::note(fd, kind, flags, caller);
    }
    segment
}

/// Enters a descriptor's row.
#[inline(always)]
fn enter(fd: u32, kind: Kind, flags: u8, source: Option<u32>, caller: Caller) {
    let segment = match plainly_ours() {
        Some(segment) => segment,
        None => match segment_for_new(fd, kind, flags, caller) {
            Some(segment) => segment,
            None => return,
        },
    };
    let now_ms = clock::now_ms();
    if mode::tick(segment, now_ms) == mode::OFF {
        return;
    }
    let Some(row) = row(segment, fd) else {
        return segment.count(Counter::FdsFull, 1);
    };
    let site = sites::of(segment, caller, kind, now_ms);
    let origin = Origin {
        at_ms: now_ms,
        site,
    };
    let info = FdInfo {
        origin,
        kind: kind as u8,
        flags,
        generation: 0,
        source,
    };
    stamps::born(segment, fd);
    if row.insert(fd, &info) {
        segment.count(Counter::Overwritten, 1);
    }
    sites::count_birth(segment, site, now_ms);
    emit::event(
        segment,
        now_ms,
        Action::Taken,
        kind as u8,
        origin,
        u64::from(fd),
    );
}

/// Somebody gives a descriptor back.
#[inline(never)]
pub fn died_from(fd: i32, closer: Caller) -> Removed {
    if closes::followed() {
        closes::follow(fd, Some(closer));
    }
    died(fd)
}

/// What close(2) has to know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Its row is out.
    Known,
    /// It had none.
    Unknown,
    /// Our own close of it is under way: a second one might hit the number's
    /// next holder.
    Ours,
}

/// The same as [`died_from`], for the hot path.
#[inline(always)]
pub fn closing(fd: i32, closer: Caller) -> Closing {
    match died_plainly(fd as u32) {
        Some(()) => Closing::Known,
        None => closing_slowly(fd, closer),
    }
}

/// The usual close: of a number with a row, where nobody has to be asked.
/// None: nothing was done.
#[inline(always)]
fn died_plainly(fd: u32) -> Option<()> {
    let segment = plainly_ours().filter(|_| !closes::followed() && !traps::any())?;
    let row = segment.quick_row::<FdRow>(Quick::Fds, u64::from(fd))?;
    let (origin, kind) = row.remove_whole(fd)?;
    count_death(segment, fd, origin, kind);
    Some(())
}

#[cold]
#[inline(never)]
fn closing_slowly(fd: i32, closer: Caller) -> Closing {
    match died_from(fd, closer) {
        Removed::Row(_) => Closing::Known,
        Removed::Claimed => Closing::Ours,
        Removed::Free | Removed::Torn => Closing::Unknown,
    }
}

/// A descriptor is about to be given back. Never skipped, not by the guard.
fn died(fd: i32) -> Removed {
    if fd < 0 {
        return Removed::Free;
    }
    if !ours() {
        count_foreign();
        return Removed::Free;
    }
    let fd = fd as u32;
    if traps::any() {
        if retire::owner_of(fd).is_some() {
            return Removed::Claimed;
        }
        retire::closed(fd);
    }
    let Some(segment) = live::segment() else {
        nursery::strike(fd);
        return Removed::Free;
    };
    let Some(row) = known_row(segment, fd) else {
        return Removed::Free;
    };
    let removed = row.remove(fd);
    match &removed {
        Removed::Row(info) => count_death(segment, fd, info.origin, info.kind),
        Removed::Torn => segment.count(Counter::Unsure, 1),
        Removed::Free | Removed::Claimed => {}
    }
    removed
}

/// The row of a number is out: its site learns of a death.
#[inline(always)]
pub fn count_death(segment: &Segment, fd: u32, origin: Origin, kind: u8) {
    let now_ms = clock::now_ms();
    if let Some(site) = sites::row(segment, origin.site) {
        let lifetime_ms = now_ms.saturating_sub(origin.at_ms);
        site.died(Amount::ONE, lifetime_ms, now_ms);
    }
    emit::event(
        segment,
        now_ms,
        Action::GivenBack,
        kind,
        origin,
        u64::from(fd),
    );
}

/// The same by a command and not by the program's own will: no life is learned
/// from it, since it says nothing of how long the program keeps such things.
pub fn count_end(segment: &Segment, fd: u32, info: &FdInfo) {
    if let Some(site) = sites::row(segment, info.origin.site) {
        site.died_unseen(Amount::ONE);
    }
    emit::event(
        segment,
        clock::now_ms(),
        Action::GivenBack,
        info.kind,
        info.origin,
        u64::from(fd),
    );
}

/// The call that should have given it back failed: it is still open.
pub fn back(fd: i32, info: FdInfo) {
    let Some(segment) = live::segment() else {
        return;
    };
    let row = known_row(segment, fd as u32);
    if !row.is_some_and(|row| row.restore(fd as u32, &info)) {
        // The number has been given out again: somebody did close it.
        return;
    }
    if let Some(site) = sites::row(segment, info.origin.site) {
        site.revived(clock::now_ms().saturating_sub(info.origin.at_ms));
    }
}

/// All numbers from `first` to `last` are given back. One that is right now
/// being closed on the program's behalf is to be left out: there is one such
/// number at a time.
pub fn died_range(first: u32, last: u32) -> Option<u32> {
    let Some(segment) = live::segment() else {
        if ours() {
            nursery::strike_range(first, last);
        }
        return None;
    };
    let mut claimed = None;
    let end = segment.rows(Section::Fds).min(u64::from(last) + 1);
    for fd in u64::from(first)..end {
        if closes::followed() {
            closes::follow(fd as i32, None);
        }
        if died(fd as i32) == Removed::Claimed {
            claimed = Some(fd as u32);
        }
    }
    claimed
}

/// Adds flags to an open descriptor.
pub fn mark(fd: i32, flags: u8) {
    if fd < 0 || !ours() {
        return;
    }
    if let Some(row) = live::segment().and_then(|segment| known_row(segment, fd as u32)) {
        row.mark(fd as u32, flags);
    }
}

fn count_foreign() {
    if let Some(segment) = live::segment().filter(|_| !live::in_vfork_child()) {
        segment.count(Counter::ForeignSkipped, 1);
    }
}

/// This thread left the shared descriptor table.
pub fn leave_table() {
    tls::block().flags |= tls::flag::OWN_FILES | tls::flag::COUNTED_OUT;
    if let Some(segment) = live::segment() {
        segment.note(note::UNSHARED_FILES);
    }
}

/// Whether any descriptor that this process made is still open.
pub fn anything_held(segment: &Segment) -> bool {
    let rows = segment.rows(Section::Fds).min(u64::from(u32::MAX)) as u32;
    (3..rows).any(|fd| {
        let info = known_row(segment, fd).and_then(|row| row.read(fd));
        info.is_some_and(|info| {
            info.kind != Kind::Inherited as u8 && info.flags & fd_flag::SENT == 0
        })
    })
}
