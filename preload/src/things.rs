//! Timers, registrations, watches, children and ended threads: what a hook
//! does when one is made, used or given back.

use crate::segment::Segment;
use crate::unwind::Caller;
use crate::{clock, descriptors, emit, live, mode, plain, sites, sys};
use core::sync::atomic::{AtomicU32, Ordering};
use shm_protocol::codes::{Counter, Kind, Section, thing_flag};
use shm_protocol::plain::{MARK, Plain, before_looking_for_the_twin, numbers};
use shm_protocol::ring::Action;
use shm_protocol::sites::Amount;
use shm_protocol::words::Origin;

fn section_of(kind: Kind) -> Section {
    match kind {
        Kind::PosixTimer => Section::Timers,
        Kind::Thread => Section::Threads,
        Kind::Child => Section::Children,
        _ => Section::Registrations,
    }
}

/// Whether a row's thing is gone without a word: closing a descriptor ends its
/// registrations, and children may be reaped by the kernel. Asked only where
/// there is no room.
fn gone_of(kind: Kind) -> plain::Gone {
    match kind {
        Kind::Registration | Kind::Watch => registration_gone,
        Kind::Child => child_gone,
        _ => |_, _, _| false,
    }
}

fn registration_gone(segment: &Segment, key: u64, row: &Plain) -> bool {
    let (set, fd) = numbers(key);
    let since = row.origin.at_ms;
    !descriptors::open_since(segment, set, since)
        || key & MARK == 0 && !descriptors::open_since(segment, fd, since)
}

fn child_gone(_: &Segment, key: u64, _: &Plain) -> bool {
    !live::frozen() && sys::kill_probe(numbers(key).1) == -(libc::ESRCH as isize)
}

/// Whether this thread's events of a kind belong into the segment.
fn is_ours(kind: Kind) -> bool {
    match kind {
        Kind::Registration | Kind::Watch => descriptors::ours(),
        _ => descriptors::our_process(),
    }
}

fn ours(kind: Kind) -> Option<&'static Segment> {
    live::segment().filter(|_| is_ours(kind))
}

/// A site for what is about to be made or just was; none while nothing is
/// recorded.
fn site_of(kind: Kind, caller: Caller) -> Option<(&'static Segment, Origin)> {
    if !is_ours(kind) {
        return None;
    }
    let segment = match kind {
        // A child that does nothing but fork goes on without a segment.
        Kind::Child => live::segment(),
        _ => live::segment_for_event(),
    }?;
    let at_ms = clock::now_ms();
    if mode::tick(segment, at_ms) == mode::OFF {
        return None;
    }
    let site = sites::of(segment, caller, kind, at_ms);
    Some((segment, Origin { at_ms, site }))
}

/// A thing was made.
pub fn born(kind: Kind, key: u64, detail: u64, caller: Caller) {
    if let Some((segment, origin)) = site_of(kind, caller) {
        enter_new(segment, kind, key, detail, origin);
    }
}

/// Where a child is about to be made, none while nothing is recorded. The child
/// will look for its row in the tables as they are now.
pub fn origin_of_child(caller: Caller) -> Option<Origin> {
    let (segment, origin) = site_of(Kind::Child, caller)?;
    plain::begin(segment, Section::Children);
    Some(origin)
}

/// That child was made; the tick in which it began, plus one, if it is known.
pub fn child_born(key: u64, tick_plus_one: u64, origin: Origin) {
    if let Some(segment) = ours(Kind::Child) {
        enter_new(segment, Kind::Child, key, tick_plus_one, origin);
    }
}

fn enter_new(segment: &Segment, kind: Kind, key: u64, detail: u64, origin: Origin) {
    let row = Plain {
        detail,
        origin,
        ..Plain::default()
    };
    enter(segment, kind, key, &row);
}

/// Enters the row and counts the birth.
fn enter(segment: &Segment, kind: Kind, key: u64, row: &Plain) {
    let section = section_of(kind);
    if let Some(Some(old)) = plain::remove(segment, section, key) {
        plain::died_unseen(segment, &old);
        // Programs close what is registered and leave it at that: no miss.
        if kind != Kind::Registration {
            segment.count(Counter::Overwritten, 1);
        }
    }
    if !plain::insert(segment, section, key, row, gone_of(kind)) {
        return;
    }
    let Origin { at_ms, site } = row.origin;
    sites::count_birth(segment, site, at_ms);
    emit::event(
        segment,
        at_ms,
        Action::Taken,
        kind as u8,
        row.origin,
        key >> 1,
    );
}

/// A thing is about to be given back, or just was. Never skipped.
pub fn died(kind: Kind, key: u64) -> Option<Plain> {
    let segment = ours(kind)?;
    let Some(row) = plain::remove(segment, section_of(kind), key)? else {
        segment.count(Counter::Unsure, 1);
        return None;
    };
    count_death(segment, kind, key, &row);
    Some(row)
}

fn count_death(segment: &Segment, kind: Kind, key: u64, row: &Plain) {
    let now_ms = clock::now_ms();
    if let Some(site) = sites::row(segment, row.origin.site) {
        let lifetime_ms = now_ms.saturating_sub(row.origin.at_ms);
        site.died(Amount::ONE, lifetime_ms, now_ms);
    }
    emit::event(
        segment,
        now_ms,
        Action::GivenBack,
        kind as u8,
        row.origin,
        key >> 1,
    );
}

/// The call that should have given it back failed.
pub fn back(kind: Kind, key: u64, row: &Plain) {
    let Some(segment) = ours(kind) else { return };
    if !plain::insert(segment, section_of(kind), key, row, gone_of(kind)) {
        return;
    }
    if let Some(site) = sites::row(segment, row.origin.site) {
        site.revived(clock::now_ms().saturating_sub(row.origin.at_ms));
    }
}

/// The owner used it, and perhaps changed what `detail` says.
pub fn used(kind: Kind, key: u64, detail: Option<u64>, flags: impl Fn(u8) -> u8) {
    if let Some(segment) = ours(kind) {
        let now_ms = clock::now_ms();
        plain::touch(segment, section_of(kind), key, now_ms, detail, flags);
    }
}

/// Something else than its owner changed it: no use.
pub fn changed(kind: Kind, key: u64, flags: impl Fn(u8) -> u8) {
    let Some(segment) = ours(kind) else { return };
    let section = section_of(kind);
    if let Some(row) = plain::read(segment, section, key) {
        plain::touch(segment, section, key, row.used_ms, None, flags);
    }
}

/// What a call hands out anew or once more.
pub fn born_or_used(kind: Kind, key: u64, caller: Caller) {
    let Some(segment) = ours(kind) else {
        return born(kind, key, 0, caller);
    };
    let now_ms = clock::now_ms();
    if !plain::touch(segment, section_of(kind), key, now_ms, None, |flags| flags) {
        born(kind, key, 0, caller);
    }
}

/// Notices that found no room. As many threads then end without a row: a
/// missed leak is better than a false one.
static LOST_NOTICES: AtomicU32 = AtomicU32::new(0);

fn take_lost_notice() -> bool {
    let lost = LOST_NOTICES.load(Ordering::Relaxed);
    lost != 0
        && LOST_NOTICES
            .compare_exchange(lost, lost - 1, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
}

/// The creation site of a thread, 0 for none; nothing while nothing is
/// recorded.
pub fn thread_site(caller: Caller) -> Option<u32> {
    let (segment, origin) = site_of(Kind::Thread, caller)?;
    // Of several that are the first to end, and at once, one would make room and
    // the others wait for it.
    plain::begin(segment, Section::Threads);
    Some(origin.site)
}

/// This thread, which somebody should join, is about to end. Its site counts
/// it from now on, since only an ended thread waits to be joined.
pub fn thread_ended(thread: u64, site: u32, stack_pages: u64) {
    let Some(segment) = ours(Kind::Thread) else {
        return;
    };
    let notice = thread | MARK;
    if plain::remove(segment, Section::Threads, notice).is_some() || take_lost_notice() {
        return;
    }
    let tid = if live::frozen() { 0 } else { sys::gettid() };
    let at_ms = clock::now_ms();
    let row = Plain {
        detail: stack_pages << 32 | u64::from(tid),
        origin: Origin { at_ms, site },
        ..Plain::default()
    };
    enter(segment, Kind::Thread, thread, &row);
    before_looking_for_the_twin();
    if plain::remove(segment, Section::Threads, notice).is_some() {
        died(Kind::Thread, thread);
    }
}

/// A thread is about to be detached. One that still runs is left a notice, as
/// it writes its row only at its end. Gives the row of one that had ended.
pub fn thread_detached(thread: u64) -> Option<Plain> {
    let segment = ours(Kind::Thread)?;
    let ended = died(Kind::Thread, thread);
    if ended.is_some() {
        return ended;
    }
    let notice = thread | MARK;
    let row = Plain {
        flags: thing_flag::DETACHED,
        ..Plain::default()
    };
    let _ = plain::remove(segment, Section::Threads, notice);
    if !plain::insert(segment, Section::Threads, notice, &row, |_, _, _| false) {
        LOST_NOTICES.fetch_add(1, Ordering::Relaxed);
    }
    before_looking_for_the_twin();
    let ended = died(Kind::Thread, thread);
    if ended.is_some() {
        let _ = plain::remove(segment, Section::Threads, notice);
    }
    ended
}

/// It could not be detached.
pub fn thread_not_detached(thread: u64, ended: Option<&Plain>) {
    match (ended, ours(Kind::Thread)) {
        (Some(row), _) => back(Kind::Thread, thread, row),
        (None, Some(segment)) => {
            let _ = plain::remove(segment, Section::Threads, thread | MARK);
        }
        _ => {}
    }
}
