//! What a young child opens before it gets a segment.
//!
//! A child that soon calls exec pays for no segment. One that stays gets its
//! first descriptors back with their stacks: until then they wait here, as
//! return addresses. Parents do not use it.

use crate::segment::Segment;
use crate::unwind::{self, Caller};
use crate::{clock, descriptors, guard, live, modules, sites, stamps, thread};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use shm_protocol::codes::Kind;
use shm_protocol::fds::FdInfo;
use shm_protocol::words::Origin;

/// Descriptors that can wait; more are found open later, without a stack.
const WAITING: usize = 64;
/// Innermost frames kept of each.
const FRAMES: usize = 32;

/// What waits in each entry: the number plus one, 0 for free. Side by side, as
/// every child looks at all of them, and few write an entry.
#[unsafe(link_section = ".bss.memguard_child")]
static NUMBERS: [AtomicU32; WAITING] = [const { AtomicU32::new(0) }; WAITING];

struct Entry {
    /// Kind and flags, a byte each, then frames in use.
    what: AtomicU32,
    returns: [AtomicU64; FRAMES],
}

#[unsafe(link_section = ".bss.memguard_tables")]
static ENTRIES: [Entry; WAITING] = [const {
    Entry {
        what: AtomicU32::new(0),
        returns: [const { AtomicU64::new(0) }; FRAMES],
    }
}; WAITING];

/// Forgets what a parent noted in its own youth.
pub fn clear() {
    NUMBERS.iter().for_each(|number| number.store(0, Relaxed));
}

/// Notes a descriptor of a child that has no segment yet.
pub fn note(fd: u32, kind: Kind, flags: u8, caller: Caller) {
    if !live::waiting() {
        return;
    }
    strike(fd);
    let mut entries = NUMBERS.iter().zip(&ENTRIES);
    if let Some((number, entry)) = entries.find(|(number, _)| number.load(Relaxed) == 0) {
        let frames = entry.guarded_stack(caller);
        let what = u32::from(kind as u8) | u32::from(flags) << 8 | frames << 16;
        entry.what.store(what, Relaxed);
        number.store(fd + 1, Relaxed);
    }
}

/// The number was closed again.
pub fn strike(fd: u32) {
    strike_range(fd, fd);
}

/// All of these were.
pub fn strike_range(first: u32, last: u32) {
    for number in &NUMBERS {
        let fd = number.load(Relaxed).checked_sub(1);
        if fd.is_some_and(|fd| (first..=last).contains(&fd)) {
            number.store(0, Relaxed);
        }
    }
}

impl Entry {
    /// Frames kept; none from a foreign stack or within another hook.
    fn guarded_stack(&self, caller: Caller) -> u32 {
        let own = unwind::stack_holds(caller.stack_pointer);
        if !own || !guard::enter(caller.stack_pointer) {
            return 0;
        }
        let frames = self.take_stack(caller);
        guard::leave();
        frames
    }

    fn take_stack(&self, caller: Caller) -> u32 {
        let Some(state) = thread::state() else {
            return 0;
        };
        if !unwind::room_to_walk(caller.stack_pointer) || !unwind::take(None, state, caller) {
            return 0;
        }
        let returns = state.stacks.return_addresses();
        for (place, value) in self.returns.iter().zip(returns) {
            place.store(*value, Relaxed);
        }
        returns.len().min(FRAMES) as u32
    }

    fn settle(&self, segment: &Segment, fd: u32, now_ms: u64) {
        let what = self.what.load(Relaxed);
        let Some(kind) = Kind::from_number(what as u8) else {
            return;
        };
        let count = ((what >> 16) as usize).min(FRAMES);
        let mut frames = [0u64; FRAMES];
        for (frame, value) in frames.iter_mut().take(count).zip(&self.returns) {
            *frame = modules::frame_of_call(segment, value.load(Relaxed));
        }
        let frames = frames.get(..count).unwrap_or_default();
        let site = sites::intern(segment, kind, frames, now_ms);
        let origin = Origin {
            at_ms: now_ms,
            site,
        };
        let info = FdInfo {
            origin,
            kind: kind as u8,
            flags: (what >> 8) as u8,
            ..FdInfo::default()
        };
        if let Some(row) = descriptors::row(segment, fd) {
            stamps::born(segment, fd);
            row.insert(fd, &info);
            sites::count_birth(segment, site, now_ms);
        }
    }
}

/// Moves all that waited into the new segment, over the rows that say
/// "inherited": only what is open has such a row.
pub fn settle(segment: &Segment) {
    let now_ms = clock::now_ms();
    for (number, entry) in NUMBERS.iter().zip(&ENTRIES) {
        if let Some(fd) = number.swap(0, Relaxed).checked_sub(1) {
            entry.settle(segment, fd, now_ms);
        }
    }
}
