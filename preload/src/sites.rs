//! From a hook's caller to its site.
//!
//! Most events of a thread come from a stack that it showed a moment ago. So
//! each thread keeps its last few stacks with the place of every return
//! address; when all of them still hold what they held, the site is the same
//! and nothing is unwound.

use crate::segment::{Quick, Segment};
use crate::thread::{self, ThreadState};
use crate::unwind::{self, Caller, DEPTH, Stack};
use crate::{guard, live, modules, tls};
use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use shm_protocol::codes::{Counter, Kind, Section};
use shm_protocol::sites::{self as table, Amount, Lookup, Site, WINDOW};
use shm_protocol::words::{MAX_SITES, site_hash};

/// Stacks remembered per thread.
const RECENT: usize = 16;

/// Four return addresses: their distances from the stack pointer, their values.
#[derive(Clone, Copy)]
#[repr(C)]
struct Returns {
    distances: [u32; 4],
    values: [u64; 4],
}

impl Returns {
    /// Whether any of them is not what it was.
    #[inline(always)]
    fn differ(&self, stack_pointer: usize) -> bool {
        let pairs = self.distances.iter().zip(self.values);
        let differing = pairs.fold(0, |sum, (distance, value)| {
            // SAFETY: the remembered stack reached this far up from the same
            // stack pointer, and a stack shrinks from below.
            sum | unsafe { *((stack_pointer + *distance as usize) as *const u64) } ^ value
        });
        differing != 0
    }
}

/// One remembered stack.
#[repr(C)]
struct Seen {
    stack_pointer: u64,
    generation: u32,
    epoch: u32,
    kind: u32,
    count: u32,
    /// Filled up to a multiple of four with repetitions of the first.
    returns: [Returns; DEPTH / 4],
}

/// The stacks that a thread remembers. Zeroed memory remembers none.
///
/// The sites stand apart, on one line: a thread that claims a state clears
/// them, and touches no more of its pages than it will use.
#[repr(C)]
pub struct Recent {
    /// The site of each stack, 0 for none.
    sites: [u32; RECENT],
    seen: [Seen; RECENT],
}

impl Recent {
    /// Remembers none.
    pub fn forget(&mut self) {
        self.sites = [0; RECENT];
    }

    /// Where the stack of `caller` is remembered, if it is.
    #[inline(always)]
    fn place(caller: Caller, pc: u64, kind: Kind) -> usize {
        let mixed =
            (caller.stack_pointer as u64 >> 4 ^ pc ^ (kind as u64) << 7).wrapping_mul(0x9E37_79B9);
        (mixed >> 16) as usize % RECENT
    }

    /// The site of the stack at `place`, if that is the stack of `caller`.
    #[inline(always)]
    fn find(&self, place: usize, caller: Caller, kind: Kind) -> Option<u32> {
        let site = self.sites[place % RECENT];
        (site != 0 && self.seen[place % RECENT].is(caller, kind)).then_some(site)
    }

    /// Remembers the stack of `caller` at `place`.
    fn remember(&mut self, place: usize, caller: Caller, kind: Kind, stack: &Stack, site: u32) {
        let place = place % RECENT;
        self.sites[place] = 0;
        if stack.reach(caller.stack_pointer) > u64::from(u32::MAX) {
            return;
        }
        // A signal handler may leave by longjmp at any point from here on: the
        // fences keep the compiler from moving or dropping the store above.
        compiler_fence(Ordering::SeqCst);
        self.seen[place].fill(caller, kind, stack);
        compiler_fence(Ordering::SeqCst);
        self.sites[place] = site;
    }
}

impl Seen {
    /// Whether this is the stack of `caller`, to the last return address.
    ///
    /// The frame pointer register is not asked: most code keeps other things
    /// in it, and equal return addresses in equal places are the same calls.
    #[inline(always)]
    fn is(&self, caller: Caller, kind: Kind) -> bool {
        let head = self.stack_pointer == caller.stack_pointer as u64
            && self.kind == kind as u32
            && self.generation == modules::generation()
            && self.epoch == live::epoch();
        head && self.returns_the_same(caller.stack_pointer)
    }

    /// Compares all return addresses, four at a time without a branch.
    #[inline(always)]
    fn returns_the_same(&self, stack_pointer: usize) -> bool {
        let fours = (self.count as usize).div_ceil(4);
        for four in self.returns.get(..fours).unwrap_or_default() {
            if four.differ(stack_pointer) {
                return false;
            }
        }
        true
    }

    fn fill(&mut self, caller: Caller, kind: Kind, stack: &Stack) {
        for i in 0..stack.count.next_multiple_of(4).min(DEPTH) {
            let from = if i < stack.count { i } else { 0 };
            let distance = stack.slots[from].wrapping_sub(caller.stack_pointer as u64);
            let four = &mut self.returns[i / 4];
            four.distances[i % 4] = distance as u32;
            four.values[i % 4] = stack.values[from];
        }
        self.stack_pointer = caller.stack_pointer as u64;
        self.generation = modules::generation();
        self.epoch = live::epoch();
        self.kind = kind as u32;
        self.count = stack.count as u32;
    }
}

/// The site of `caller` for `kind`, 0 when there is no room for it.
#[inline(always)]
pub fn of(segment: &Segment, caller: Caller, kind: Kind, now_ms: u64) -> u32 {
    match remembered(caller, kind) {
        Some(site) => site,
        None => of_new_stack(segment, caller, kind, now_ms),
    }
}

/// The site of a stack that this thread showed a moment ago. It lies on the
/// thread's own: no other one is remembered.
#[inline(always)]
fn remembered(caller: Caller, kind: Kind) -> Option<u32> {
    let block = tls::block();
    // SAFETY: null, or claimed by this thread; the guard keeps signal handlers
    // out.
    let state = unsafe { block.state.as_ref() }.filter(|_| block.guard == 0)?;
    block.guard = caller.stack_pointer;
    compiler_fence(Ordering::SeqCst);
    // SAFETY: the return address of the hook that is running, on this stack.
    let pc = unsafe { *(caller.stack_pointer as *const u64) };
    let place = Recent::place(caller, pc, kind);
    let site = state.recent.find(place, caller, kind);
    compiler_fence(Ordering::SeqCst);
    block.guard = 0;
    site
}

#[cold]
#[inline(never)]
fn of_new_stack(segment: &Segment, caller: Caller, kind: Kind, now_ms: u64) -> u32 {
    if !unwind::stack_holds(caller.stack_pointer) {
        segment.count(Counter::StacksSkipped, 1);
        return without_stack(segment, kind, now_ms);
    }
    if !guard::enter(caller.stack_pointer) {
        segment.count(Counter::Nested, 1);
        return without_stack(segment, kind, now_ms);
    }
    let site = match thread::state() {
        Some(state) => of_thread(segment, state, caller, kind, now_ms),
        None => {
            segment.count(Counter::StacksSkipped, 1);
            without_stack(segment, kind, now_ms)
        }
    };
    guard::leave();
    site
}

fn of_thread(
    segment: &Segment,
    state: &mut ThreadState,
    caller: Caller,
    kind: Kind,
    now_ms: u64,
) -> u32 {
    // SAFETY: the return address of the hook that is running, on this stack.
    let pc = unsafe { *(caller.stack_pointer as *const u64) };
    let place = Recent::place(caller, pc, kind);
    if !unwind::room_to_walk(caller.stack_pointer) || !unwind::take(Some(segment), state, caller) {
        segment.count(Counter::StacksSkipped, 1);
        return without_stack(segment, kind, now_ms);
    }
    let stack = state.stacks.newest();
    if stack.cut {
        segment.count(Counter::StacksCut, 1);
    }
    segment.count(Counter::StackMisses, 1);
    let site = intern(segment, kind, stack.frames(), now_ms);
    state.recent.remember(place, caller, kind, stack, site);
    site
}

/// The site of all events of a kind that came without a stack.
pub fn without_stack(segment: &Segment, kind: Kind, now_ms: u64) -> u32 {
    intern(segment, kind, &[], now_ms)
}

/// The site of these frames.
pub fn intern(segment: &Segment, kind: Kind, frames: &[u64], now_ms: u64) -> u32 {
    let hash = site_hash(kind as u8, frames);
    let site = find_or_add(segment, hash, kind, frames, now_ms);
    if site.is_none() {
        segment.count(Counter::SitesFull, 1);
    }
    site.unwrap_or(0)
}

fn find_or_add(
    segment: &Segment,
    hash: u64,
    kind: Kind,
    frames: &[u64],
    now_ms: u64,
) -> Option<u32> {
    let mut made = None;
    // Until a level has room: the last ones may be new.
    for level in 0.. {
        if level == segment.run_count(Section::SiteIndex) {
            let slots = segment.rows(Section::SiteIndex) as usize;
            if !segment.grow(Section::SiteIndex, slots.next_power_of_two().min(1 << 20)) {
                return None;
            }
        }
        let window = window(segment, level, hash)?;
        match table::look_up(window, hash) {
            Lookup::Found(site) => return Some(site),
            Lookup::Free(from) => {
                let site = match made {
                    Some(site) => site,
                    None => add(segment, hash, kind, frames, now_ms)?,
                };
                made = Some(site);
                if let Some(standing) = table::enter(window, from, hash, site) {
                    return Some(standing);
                }
            }
            Lookup::Full => {}
        }
    }
    None
}

fn window(segment: &Segment, level: usize, hash: u64) -> Option<&'static [AtomicU64]> {
    let (_, slots) = segment.run_rows(Section::SiteIndex, level);
    let at = table::window_of(hash, slots as usize) as u64;
    segment.in_run(Section::SiteIndex, level, at, WINDOW, true)
}

/// Writes a new row and its stack; it counts once it is in the index.
fn add(segment: &Segment, hash: u64, kind: Kind, frames: &[u64], now_ms: u64) -> Option<u32> {
    let stack = store_stack(segment, frames)?;
    let id = segment.header().site_rows.fetch_add(1, Ordering::Relaxed);
    if id >= u64::from(MAX_SITES) {
        return None;
    }
    while id >= segment.rows(Section::Sites) {
        if !segment.double(Section::Sites) {
            return None;
        }
    }
    if !segment.make_site_real(id) {
        return None;
    }
    let row = segment.row::<Site>(Section::Sites, id, true)?;
    row.define(hash, kind as u8, stack, frames.len() as u16, now_ms);
    Some(id as u32)
}

/// Appends the frames to the arena; returns the index of the first.
fn store_stack(segment: &Segment, frames: &[u64]) -> Option<u64> {
    let used = &segment.header().stack_words;
    for _ in 0..16 {
        let at = used.load(Ordering::Relaxed);
        let (run, from) = match room(segment, at, frames.len() as u64) {
            Some(found) => found,
            None => {
                let rows = segment.rows(Section::Stacks) as usize;
                segment.grow(Section::Stacks, rows);
                continue;
            }
        };
        let end = from + frames.len() as u64;
        if used
            .compare_exchange(at, end, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
        {
            continue;
        }
        let (first, _) = segment.run_rows(Section::Stacks, run);
        let words =
            segment.in_run::<AtomicU64>(Section::Stacks, run, from - first, frames.len(), true)?;
        words
            .iter()
            .zip(frames)
            .for_each(|(word, frame)| word.store(*frame, Ordering::Relaxed));
        return Some(from);
    }
    None
}

/// The run with room for `words` at or after `at`, and where they start.
fn room(segment: &Segment, at: u64, words: u64) -> Option<(usize, u64)> {
    (0..segment.run_count(Section::Stacks)).find_map(|run| {
        let (first, rows) = segment.run_rows(Section::Stacks, run);
        let from = at.max(first);
        (from + words <= first + rows).then_some((run, from))
    })
}

/// The row of a site.
#[inline]
pub fn row(segment: &Segment, site: u32) -> Option<&'static Site> {
    let id = u64::from(site);
    match segment.quick_row::<Site>(Quick::Sites, id) {
        _ if id == 0 => None,
        None => segment.row::<Site>(Section::Sites, id, false),
        found => found,
    }
}

/// Counts one unweighted birth.
#[inline]
pub fn count_birth(segment: &Segment, site: u32, now_ms: u64) {
    if let Some(site) = row(segment, site) {
        site.born(Amount::ONE, now_ms);
    }
}
