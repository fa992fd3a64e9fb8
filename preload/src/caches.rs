//! Caches that the program has registered (`include/memguard.h`).
//!
//! Callbacks run one at a time in a process, under the mailbox's guard: at
//! `memguard_poll`, the program's own safe point, or at a quiet moment where
//! the program said that this is safe. Registering takes no lock. Whoever
//! unregisters waits for a callback of that cache on another thread: afterwards
//! its argument may be freed.

use crate::page::PAGE;
use crate::segment::Segment;
use crate::{clock, live, quiet, sys};
use core::ffi::{CStr, c_char, c_void};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use shm_protocol::caches::{CacheRow, NAME_WORDS, ROWS, is_size, name_words};
use shm_protocol::codes::{Section, cache_flag};
use shm_protocol::mailbox::Answer;

/// Sizes are asked for at most so often.
const EVERY_MS: u64 = 1000;

type SizeOf = unsafe extern "C" fn(*mut c_void) -> usize;
type Shrink = unsafe extern "C" fn(usize, *mut c_void);

/// A cache. Its words but the generation are written by whoever owns it.
struct Entry {
    owned: AtomicU32,
    /// Odd while a cache is registered here.
    generation: AtomicU64,
    /// Segment that has its row.
    epoch: AtomicU32,
    name: [AtomicU64; NAME_WORDS],
    flags: AtomicU64,
    size: AtomicPtr<c_void>,
    shrink: AtomicPtr<c_void>,
    argument: AtomicPtr<c_void>,
}

#[unsafe(link_section = ".bss.memguard_tables")]
static TABLE: [Entry; ROWS] = [const {
    Entry {
        owned: AtomicU32::new(0),
        generation: AtomicU64::new(0),
        epoch: AtomicU32::new(0),
        name: [const { AtomicU64::new(0) }; NAME_WORDS],
        flags: AtomicU64::new(0),
        size: AtomicPtr::new(core::ptr::null_mut()),
        shrink: AtomicPtr::new(core::ptr::null_mut()),
        argument: AtomicPtr::new(core::ptr::null_mut()),
    }
}; ROWS];

/// How many are registered, and how many of them for quiet moments.
static COUNT: AtomicU32 = AtomicU32::new(0);
static QUIET_COUNT: AtomicU32 = AtomicU32::new(0);
/// When sizes were asked for last, and for which segment (0: not since a cache
/// came).
static MEASURED_MS: AtomicU64 = AtomicU64::new(0);
static MEASURED_FOR: AtomicU32 = AtomicU32::new(0);

/// What the program knows a cache by: number under generation, never 0.
fn handle(number: usize, generation: u64) -> u64 {
    generation << 8 | number as u64
}

fn entry_of(handle: u64) -> Option<(&'static Entry, u64)> {
    let entry = TABLE.get((handle & 0xFF) as usize)?;
    Some((entry, handle >> 8))
}

/// Registers a cache; 0 when there are too many.
///
/// # Safety
/// `name` ends in 0; the functions take the argument until the cache is
/// unregistered.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memguard_v1_cache_register(
    name: *const c_char,
    size: *mut c_void,
    shrink: *mut c_void,
    argument: *mut c_void,
    flags: u32,
) -> u64 {
    if name.is_null() || size.is_null() {
        return 0;
    }
    let free = |(_, entry): &(usize, &'static Entry)| entry.owned.swap(1, Ordering::Acquire) == 0;
    let Some((number, entry)) = TABLE.iter().enumerate().find(free) else {
        return 0;
    };
    // SAFETY: the caller's promise.
    entry.set_name(unsafe { CStr::from_ptr(name) }.to_bytes());
    let fixed = if shrink.is_null() {
        cache_flag::FIXED
    } else {
        0
    };
    let flags = u64::from(flags) & cache_flag::ANYWHERE | fixed;
    entry.flags.store(flags, Ordering::Relaxed);
    entry.size.store(size, Ordering::Relaxed);
    entry.shrink.store(shrink, Ordering::Relaxed);
    entry.argument.store(argument, Ordering::Relaxed);
    entry.epoch.store(0, Ordering::Relaxed);
    let generation = entry.generation.fetch_add(1, Ordering::SeqCst) + 1;
    MEASURED_FOR.store(0, Ordering::Relaxed);
    COUNT.fetch_add(1, Ordering::Relaxed);
    QUIET_COUNT.fetch_add(u32::from(entry.is_quiet()), Ordering::Relaxed);
    if let Some(segment) = live::segment_for_event().filter(|_| !live::in_vfork_child()) {
        entry.publish(segment, number, generation);
    }
    handle(number, generation)
}

/// Forgets a cache, and waits for a callback of it.
#[unsafe(no_mangle)]
pub extern "C" fn memguard_v1_cache_unregister(handle: u64) {
    let Some((entry, generation)) = entry_of(handle) else {
        return;
    };
    let quiet = entry.is_quiet();
    let gone = entry.generation.compare_exchange(
        generation,
        generation.wrapping_add(1),
        Ordering::SeqCst,
        Ordering::Relaxed,
    );
    if generation & 1 == 0 || gone.is_err() {
        return;
    }
    COUNT.fetch_sub(1, Ordering::Relaxed);
    QUIET_COUNT.fetch_sub(u32::from(quiet), Ordering::Relaxed);
    if let Some(segment) = live::segment()
        && let Some(row) = row(segment, (handle & 0xFF) as usize, false)
    {
        row.leave();
    }
    while PAGE.calling.load(Ordering::SeqCst) == handle
        && PAGE.caller.load(Ordering::Relaxed) != sys::gettid()
    {
        sys::sleep_a_moment();
    }
    entry.owned.store(0, Ordering::Release);
}

/// The program's own safe point: what waits for one is done here.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn memguard_v1_poll() {
    let Some(segment) = live::segment_for_event() else {
        return;
    };
    crate::mode::tick(segment, clock::now_ms());
    let due = COUNT.load(Ordering::Relaxed) != 0 && due();
    quiet::at_poll(segment, due);
}

/// Whether sizes are old.
fn due() -> bool {
    let passed_ms = clock::now_ms().wrapping_sub(MEASURED_MS.load(Ordering::Relaxed));
    passed_ms >= EVERY_MS || MEASURED_FOR.load(Ordering::Relaxed) != live::epoch()
}

/// Whether a quiet moment is wanted to ask for sizes.
pub fn want_quiet() -> bool {
    QUIET_COUNT.load(Ordering::Relaxed) != 0 && due()
}

fn row(segment: &Segment, number: usize, write: bool) -> Option<&'static CacheRow> {
    if write && segment.rows(Section::Caches) == 0 {
        segment.grow(Section::Caches, ROWS);
    }
    let there = (number as u64) < segment.rows(Section::Caches);
    there.then(|| segment.row::<CacheRow>(Section::Caches, number as u64, write))?
}

impl Entry {
    fn is_quiet(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & cache_flag::ANYWHERE != 0
    }

    fn set_name(&self, name: &[u8]) {
        for (place, word) in self.name.iter().zip(name_words(name)) {
            place.store(word, Ordering::Relaxed);
        }
    }

    /// Enters it into a segment that does not have it yet.
    fn publish(&self, segment: &Segment, number: usize, generation: u64) {
        let Some(row) = row(segment, number, true) else {
            return;
        };
        let name = core::array::from_fn(|at| self.name[at].load(Ordering::Relaxed));
        row.enter(generation, self.flags.load(Ordering::Relaxed), &name);
        self.epoch.store(live::epoch(), Ordering::Relaxed);
    }

    /// Its functions and argument, for as long as `work` runs: nobody who
    /// unregisters it comes back before. `None` when it is gone.
    fn call<T>(
        &self,
        number: usize,
        generation: u64,
        work: impl FnOnce(&Entry, *mut c_void) -> T,
    ) -> Option<T> {
        PAGE.caller.store(sys::gettid(), Ordering::Relaxed);
        PAGE.calling
            .store(handle(number, generation), Ordering::SeqCst);
        let there = generation & 1 == 1 && self.generation.load(Ordering::SeqCst) == generation;
        let done = there.then(|| work(self, self.argument.load(Ordering::Relaxed)));
        PAGE.calling.store(0, Ordering::SeqCst);
        done
    }

    fn size(&self, argument: *mut c_void) -> u64 {
        let size = self.size.load(Ordering::Relaxed);
        // SAFETY: the program's function for this argument, within `call`.
        unsafe { core::mem::transmute::<*mut c_void, SizeOf>(size)(argument) as u64 }
    }
}

/// Asks for the sizes of all caches, or of those for quiet moments. Under the
/// mailbox's guard.
pub fn measure(segment: &Segment, everywhere: bool) {
    MEASURED_MS.store(clock::now_ms(), Ordering::Relaxed);
    MEASURED_FOR.store(live::epoch(), Ordering::Relaxed);
    for (number, entry) in TABLE.iter().enumerate() {
        let generation = entry.generation.load(Ordering::Acquire);
        if generation & 1 == 0 || everywhere && !entry.is_quiet() {
            continue;
        }
        entry.call(number, generation, |entry, argument| {
            if entry.epoch.load(Ordering::Relaxed) != live::epoch() {
                entry.publish(segment, number, generation);
            }
            let size_bytes = entry.size(argument);
            if let Some(row) = row(segment, number, false) {
                row.measured(size_bytes, clock::now_ms());
            }
        });
    }
}

/// Whether a command about this cache may be carried out here.
pub fn fits(number: u64, at_poll: bool) -> bool {
    let entry = usize::try_from(number).ok().and_then(|at| TABLE.get(at));
    at_poll || entry.is_none_or(Entry::is_quiet)
}

/// Asks a cache to keep no more than so much: its size before, how long it
/// took in ns, its size after. Under the mailbox's guard.
pub fn shrink(
    segment: &Segment,
    number: u64,
    generation: u64,
    keep_bytes: u64,
) -> Result<[u64; 3], (Answer, u64)> {
    let place = usize::try_from(number).ok();
    let place = place.and_then(|at| Some((at, TABLE.get(at)?)));
    let (number, entry) = place.ok_or((Answer::Malformed, 0))?;
    let asked = entry.call(number, generation, |entry, argument| {
        let shrink = entry.shrink.load(Ordering::Relaxed);
        let before = entry.size(argument);
        if shrink.is_null() {
            return Err((Answer::Protected, 0));
        }
        let begun_ns = clock::fine_ns();
        // SAFETY: as in `size`.
        unsafe {
            core::mem::transmute::<*mut c_void, Shrink>(shrink)(keep_bytes as usize, argument);
        }
        let took_ns = clock::fine_ns().saturating_sub(begun_ns);
        let after = entry.size(argument);
        if let Some(row) = row(segment, number, false) {
            let known = is_size(before) && is_size(after);
            let given = if known {
                before.saturating_sub(after)
            } else {
                0
            };
            row.shrunk(given, took_ns);
            row.measured(after, clock::now_ms());
        }
        Ok([before, took_ns, after])
    });
    asked.unwrap_or(Err((Answer::Gone, 0)))
}
