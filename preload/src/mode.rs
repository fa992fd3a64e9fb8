//! Light, deep, off: what the hooks do now, and how that changes live.
//!
//! The stubs of malloc and free jump through pointers and test a mask. A mode
//! is a set of values for them, so that switching reaches all threads at
//! their next call and costs the others nothing.

use crate::hooks::heap;
use crate::segment::Segment;
use crate::{allocators, boot, config, execute, live, marks, stamps};
use core::sync::atomic::{AtomicU64, Ordering};
use shm_protocol::codes::{Mode, Policy, note};
use shm_protocol::mailbox::mail;
use shm_protocol::weight::Class;

/// What [`tick`] returns while nothing is recorded.
pub const OFF: u32 = Mode::Off as u32;

/// Rows whose block has no mark: free must look every pointer up.
static UNMARKED: AtomicU64 = AtomicU64::new(0);

/// Class indexes in the header.
const LIGHT_CLASS: u32 = 0;
const DEEP_CLASS: u32 = 1;
/// What is never sampled: mappings.
pub const EXACT_CLASS: u8 = 2;

/// A row was entered whose block has no mark.
pub fn unmarked_born() {
    UNMARKED.fetch_add(1, Ordering::SeqCst);
    // Whoever made it one may not have come to this yet.
    heap::look_at_all();
}

/// Such a row was removed.
pub fn unmarked_died() {
    if UNMARKED.fetch_sub(1, Ordering::SeqCst) == 1 {
        settle_mask();
    }
}

/// Mode and classes of a new segment.
pub fn start(segment: &Segment) {
    if UNMARKED.load(Ordering::Relaxed) != 0 {
        UNMARKED.store(0, Ordering::Relaxed);
    }
    let header = segment.header();
    let light = match config::light_rate_ppb() {
        0 => Class::Bytes(config::sample_bytes()),
        ppb => Class::Rate(ppb),
    };
    let deep = match config::deep_rate_ppb() {
        0 | 1_000_000_000 => Class::All,
        ppb => Class::Rate(ppb),
    };
    header.classes[LIGHT_CLASS as usize].store(light.pack(), Ordering::Relaxed);
    header.classes[DEEP_CLASS as usize].store(deep.pack(), Ordering::Relaxed);
    header.classes[EXACT_CLASS as usize].store(Class::All.pack(), Ordering::Relaxed);
    header.light_class.store(LIGHT_CLASS, Ordering::Relaxed);
    header.deep_class.store(DEEP_CLASS, Ordering::Relaxed);
    header
        .allocator
        .store(allocators::code(), Ordering::Relaxed);
    if !boot::heap_is_ours() {
        segment.note(note::STATIC_ALLOCATOR);
    } else if !marks::possible() {
        segment.note(note::FOREIGN_ALLOCATOR);
    }
    apply(
        segment,
        match config::policy() {
            Policy::Off => Mode::Off,
            Policy::Deep => Mode::Deep,
            Policy::Light | Policy::Hybrid => Mode::Light,
        },
    );
}

/// The class that allocations are sampled by now, and its index.
pub fn class(segment: &Segment) -> (u8, Class) {
    let header = segment.header();
    let deep = header.mode.load(Ordering::Relaxed) == Mode::Deep as u32;
    let index = if deep {
        &header.deep_class
    } else {
        &header.light_class
    }
    .load(Ordering::Relaxed);
    (index as u8, class_at(segment, index as u8))
}

/// The class with this index.
pub fn class_at(segment: &Segment, index: u8) -> Class {
    let classes = &segment.header().classes;
    let word = classes[usize::from(index) % classes.len()].load(Ordering::Relaxed);
    Class::unpack(word).unwrap_or(Class::All)
}

/// Looks at what the outside wants, and at the deadline. Called by every hook
/// that has read the clock. Returns the mode in force.
#[inline]
pub fn tick(segment: &Segment, now_ms: u64) -> u32 {
    let header = segment.header();
    let tick_ms = header.tick_s.load(Ordering::Relaxed).wrapping_mul(1000);
    if now_ms.wrapping_sub(tick_ms) >= 1000 {
        stamps::advance(segment, now_ms / 1000);
    }
    let wanted = header.wanted_mode.load(Ordering::Acquire);
    if wanted != header.applied_mode.load(Ordering::Relaxed) {
        obey(segment, wanted);
    }
    let until = header.mode_until_ms.load(Ordering::Relaxed);
    if until != 0 && now_ms >= until {
        fall_back(segment, until);
    }
    if header.mail.load(Ordering::Relaxed) & mail::ANYWHERE != 0 {
        execute::look(segment);
    }
    header.mode.load(Ordering::Relaxed)
}

#[cold]
fn obey(segment: &Segment, wanted: u64) {
    let header = segment.header();
    let applied = header.applied_mode.load(Ordering::Relaxed);
    let won =
        header
            .applied_mode
            .compare_exchange(applied, wanted, Ordering::AcqRel, Ordering::Relaxed);
    let (Ok(_), Some(mode)) = (won, Mode::from_number((wanted >> 56) as u8)) else {
        return;
    };
    let until = header.wanted_until_ms.load(Ordering::Relaxed);
    if header.mode_until_ms.load(Ordering::Relaxed) == 0 {
        header
            .mode_after
            .store(header.mode.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    header.mode_until_ms.store(until, Ordering::Relaxed);
    apply(segment, mode);
}

#[cold]
fn fall_back(segment: &Segment, until: u64) {
    let header = segment.header();
    let won = header
        .mode_until_ms
        .compare_exchange(until, 0, Ordering::AcqRel, Ordering::Relaxed);
    let after = Mode::from_number(header.mode_after.load(Ordering::Relaxed) as u8);
    if won.is_ok() {
        apply(segment, after.unwrap_or(Mode::Light));
    }
}

fn apply(segment: &Segment, mode: Mode) {
    let header = segment.header();
    let before = header.mode.swap(mode as u32, Ordering::AcqRel);
    let left_deep = before == Mode::Deep as u32;
    match mode {
        Mode::Off => stamps::close(),
        _ if before == OFF => stamps::open(segment),
        _ => {}
    }
    if left_deep && mode == Mode::Light && UNMARKED.load(Ordering::Relaxed) > 0 {
        segment.note(note::DEEP_ROWS_KEPT);
    }
    let by_rate = matches!(class(segment).1, Class::Rate(_));
    heap::set_path(match mode {
        Mode::Off => heap::Path::Through,
        Mode::Deep if by_rate => heap::Path::ByRate,
        Mode::Deep => heap::Path::All,
        Mode::Light if by_rate => heap::Path::ByRate,
        Mode::Light => heap::Path::ByBytes,
    });
    settle_mask();
}

/// The mask by which free tells pointers that need a look.
fn settle_mask() {
    let Some(segment) = live::segment() else {
        return;
    };
    let marked_only = || {
        segment.header().mode.load(Ordering::SeqCst) != Mode::Deep as u32
            && UNMARKED.load(Ordering::SeqCst) == 0
    };
    if marked_only() {
        heap::look_at_marked(marks::mask(), marked_only);
    } else {
        heap::look_at_all();
    }
}
