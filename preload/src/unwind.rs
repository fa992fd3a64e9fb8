//! Call stacks, taken in the program itself.
//!
//! Walks from a hook's caller outwards, by the modules' unwind tables where
//! there are some and by frame pointers through code without (JITs). Reads
//! nothing outside the thread's own stack, takes no lock, allocates nothing.
//! On an alternate or foreign stack it does not even start.

use crate::cfi::{Cfa, Pointer, Step};
use crate::segment::Segment;
use crate::thread::ThreadState;
use crate::{cfi, learned, modules, tls};
use core::sync::atomic::{AtomicUsize, Ordering, compiler_fence};
use shm_protocol::words::Frame;

/// Deepest stack that is kept: the innermost frames.
pub const DEPTH: usize = 64;
/// Rules remembered per thread.
const RULES: usize = 256;

/// One past the main thread's stack.
static MAIN_HIGH: AtomicUsize = AtomicUsize::new(0);

/// Where a hook was called from.
#[derive(Clone, Copy)]
pub struct Caller {
    /// Address of the return address.
    pub stack_pointer: usize,
    /// The caller's frame pointer register.
    pub frame_pointer: usize,
}

/// A stack: frame words, and where each return address lies.
#[repr(C)]
pub struct Stack {
    pub count: usize,
    pub cut: bool,
    pub frames: [u64; DEPTH],
    pub slots: [u64; DEPTH],
    pub values: [u64; DEPTH],
}

/// What to do at an address, worked out before.
#[derive(Clone, Copy)]
#[repr(C)]
struct Rule {
    /// Return address and whether it is exact, 0 for an empty entry.
    key: u64,
    frame: u64,
    step: Step,
    /// Segment that `frame` belongs to.
    epoch: u32,
}

/// Rules of a thread, each in one of two places. Zeroed memory is an empty cache.
#[repr(C)]
pub struct RuleCache {
    generation: u32,
    epoch: u32,
    rules: [core::mem::MaybeUninit<Rule>; RULES],
}

impl RuleCache {
    /// Forgets everything when modules came or went. A forked child keeps the
    /// steps, which took reading unwind tables, and names its frames anew. Says
    /// whether anything changed.
    fn refresh(&mut self) -> bool {
        let now = (modules::generation(), crate::live::epoch());
        let before = (self.generation, self.epoch);
        if before.0 != now.0 {
            self.rules
                .iter_mut()
                .for_each(|rule| *rule = core::mem::MaybeUninit::zeroed());
        }
        // A signal handler may leave by longjmp before: then all is done again.
        compiler_fence(Ordering::SeqCst);
        (self.generation, self.epoch) = now;
        before != now
    }

    fn rule(&mut self, segment: Option<&Segment>, pc: usize, exact: bool) -> Rule {
        let key = (pc as u64) << 1 | u64::from(exact);
        let first = (pc ^ pc >> 8) % RULES;
        for at in [first, first ^ 1] {
            let entry = &self.rules[at];
            // SAFETY: plain words, zero in an empty entry.
            let found = unsafe { ((*entry.as_ptr()).key, (*entry.as_ptr()).epoch) };
            if found == (key, self.epoch) {
                // SAFETY: an entry with a key was written whole.
                return unsafe { entry.assume_init() };
            }
        }
        self.learn(segment, first, (pc, exact), key)
    }

    /// The rule at a place, if there is one.
    fn at(&self, place: usize) -> Option<Rule> {
        let entry = &self.rules[place];
        // SAFETY: a plain word, zero in an empty entry.
        let written = unsafe { (*entry.as_ptr()).key } != 0;
        // SAFETY: an entry with a key was written whole.
        written.then(|| unsafe { entry.assume_init() })
    }

    /// Works a rule out and keeps it in its first place; what was there moves to
    /// the place beside it.
    #[cold]
    fn learn(
        &mut self,
        segment: Option<&Segment>,
        first: usize,
        place: (usize, bool),
        key: u64,
    ) -> Rule {
        let found = [first, first ^ 1].map(|at| self.at(at));
        let mut known = found.iter().flatten().filter(|rule| rule.key == key);
        let kept = known.next().map(|rule| rule.step);
        let made = make_rule(segment, (key, self.epoch), place, kept);
        if let Some(other) = found[0].filter(|rule| rule.key != key) {
            self.put(first ^ 1, other);
        }
        self.put(first, made);
        made
    }

    /// A signal handler may leave by longjmp while this is written: the entry
    /// has no key meanwhile.
    fn put(&mut self, at: usize, rule: Rule) {
        let entry = &mut self.rules[at];
        // SAFETY: a plain word.
        unsafe { (*entry.as_mut_ptr()).key = 0 };
        compiler_fence(Ordering::SeqCst);
        entry.write(Rule { key: 0, ..rule });
        compiler_fence(Ordering::SeqCst);
        // SAFETY: written whole just now.
        unsafe { entry.assume_init_mut() }.key = rule.key;
    }
}

#[cold]
fn make_rule(
    segment: Option<&Segment>,
    (key, epoch): (u64, u32),
    (pc, exact): (usize, bool),
    kept: Option<Step>,
) -> Rule {
    // A return address may lie behind the calling function's last byte.
    let address = if exact { pc } else { pc.wrapping_sub(1) };
    let (frame, step) = match modules::find(address) {
        Some(module) => (
            segment.map_or(0, |segment| modules::frame(segment, &module, address)),
            kept.unwrap_or_else(|| {
                learned::step(&module, (pc, exact), || {
                    cfi::step(module.eh_frame_header, address)
                })
            }),
        ),
        None => (Frame::Raw(address as u64).pack(), Step::None),
    };
    Rule {
        key,
        frame,
        step,
        epoch,
    }
}

/// Remembers the main thread's stack. From the constructor.
pub fn init_main_thread(stack_end: usize, limit_bytes: u64) {
    MAIN_HIGH.store(stack_end, Ordering::Relaxed);
    let size = limit_bytes.min(1 << 30) as usize;
    let block = tls::block();
    block.flags |= tls::flag::MAIN;
    block.stack_low = stack_end.saturating_sub(size).max(4096);
}

/// Remembers a new thread's stack: `size` bytes below its thread block.
pub fn init_thread(size: usize) {
    tls::block().stack_low = tls::thread_pointer().saturating_sub(size).max(4096);
}

fn stack_high() -> usize {
    match tls::block().flags & tls::flag::MAIN {
        0 => tls::thread_pointer(),
        _ => MAIN_HIGH.load(Ordering::Relaxed),
    }
}

/// Whether an address lies on this thread's own stack, as far as known.
pub fn stack_holds(address: usize) -> bool {
    let low = tls::block().stack_low;
    low != 0 && address >= low && address < stack_high()
}

/// Whether enough of the stack is left for a walk, with room for a signal
/// handler on top. Small threads near their end go without.
pub fn room_to_walk(stack_pointer: usize) -> bool {
    const ROOM: usize = 16 * 1024;
    stack_pointer.saturating_sub(tls::block().stack_low) >= ROOM
}

/// Where the walk stands.
struct Walk {
    pc: usize,
    exact: bool,
    stack_pointer: usize,
    frame_pointer: usize,
    high: usize,
}

impl Walk {
    /// At the hook's caller.
    fn start(caller: Caller) -> Option<Walk> {
        let mut walk = Walk {
            pc: 0,
            exact: false,
            stack_pointer: caller.stack_pointer,
            frame_pointer: caller.frame_pointer,
            high: stack_high(),
        };
        walk.pc = walk.word(caller.stack_pointer)?;
        walk.stack_pointer += 8;
        Some(walk)
    }

    /// A word of the stack above the present frame.
    fn word(&self, at: usize) -> Option<usize> {
        let within =
            at >= self.stack_pointer && at.checked_add(8)? <= self.high && at.is_multiple_of(8);
        // SAFETY: between the hook's stack pointer and the top of the same
        // stack, all of which is in use and mapped.
        within.then(|| unsafe { *(at as *const usize) })
    }

    fn go(&mut self, step: Step) -> Option<usize> {
        match step {
            Step::Call(cfa, pointer) => self.call(cfa, pointer),
            Step::Signal => self.signal(),
            Step::None => self.by_frame_pointer(),
            Step::End => None,
        }
    }

    fn call(&mut self, cfa: Cfa, pointer: Pointer) -> Option<usize> {
        let plus = |base: usize, offset: i32| base.checked_add_signed(offset as isize);
        let cfa = match cfa {
            Cfa::Stack(offset) => plus(self.stack_pointer, offset)?,
            Cfa::Frame(offset) => plus(self.frame_pointer, offset)?,
            Cfa::InFrame(offset) => self.word(plus(self.frame_pointer, offset)?)?,
            Cfa::Unknown => return None,
        };
        let slot = cfa.checked_sub(8)?;
        let pc = self.word(slot)?;
        let frame_pointer = match pointer {
            Pointer::Same => self.frame_pointer,
            Pointer::At(offset) => self.word(plus(cfa, offset)?)?,
            Pointer::AtFrame(offset) => self.word(plus(self.frame_pointer, offset)?)?,
            Pointer::Gone => 0,
        };
        (self.pc, self.exact, self.stack_pointer, self.frame_pointer) =
            (pc, false, cfa, frame_pointer);
        Some(slot)
    }

    /// The kernel's frame: a ucontext at the stack pointer (sigreturn(2)).
    fn signal(&mut self) -> Option<usize> {
        const FRAME_POINTER: usize = 120;
        const STACK_POINTER: usize = 160;
        const PC: usize = 168;
        let slot = self.stack_pointer + PC;
        let pc = self.word(slot)?;
        let stack_pointer = self.word(self.stack_pointer + STACK_POINTER)?;
        let frame_pointer = self.word(self.stack_pointer + FRAME_POINTER)?;
        if stack_pointer <= self.stack_pointer || stack_pointer >= self.high {
            return None;
        }
        (self.pc, self.exact) = (pc, true);
        (self.stack_pointer, self.frame_pointer) = (stack_pointer, frame_pointer);
        Some(slot)
    }

    fn by_frame_pointer(&mut self) -> Option<usize> {
        let frame = self.frame_pointer;
        let (next, pc) = (self.word(frame)?, self.word(frame.checked_add(8)?)?);
        (self.pc, self.exact) = (pc, false);
        (self.stack_pointer, self.frame_pointer) = (frame + 16, next);
        Some(frame + 8)
    }
}

/// The stack being taken and the one before it.
#[repr(C)]
pub struct Stacks {
    both: [Stack; 2],
    newest: u32,
}

impl Stacks {
    /// Return addresses of the stack taken last.
    pub fn return_addresses(&self) -> &[u64] {
        let newest = self.newest();
        newest.values.get(..newest.count).unwrap_or_default()
    }

    /// Holds none.
    pub fn forget(&mut self) {
        self.both.iter_mut().for_each(|stack| stack.count = 0);
    }

    /// The stack that [`take`] took last.
    pub fn newest(&self) -> &Stack {
        &self.both[self.newest as usize % 2]
    }

    /// Room for the next one, and the last one beside it.
    fn turn(&mut self) -> (&mut Stack, &Stack) {
        self.newest ^= 1;
        let [even, odd] = &mut self.both;
        if self.newest.is_multiple_of(2) {
            (even, odd)
        } else {
            (odd, even)
        }
    }
}

impl Stack {
    /// Frame words, innermost first.
    pub fn frames(&self) -> &[u64] {
        self.frames.get(..self.count).unwrap_or_default()
    }

    /// How far up from a stack pointer its last return address lies.
    pub fn reach(&self, stack_pointer: usize) -> u64 {
        let last = self.slots.get(..self.count).and_then(|slots| slots.last());
        last.map_or(0, |slot| slot.wrapping_sub(stack_pointer as u64))
    }

    fn push(&mut self, frame: u64, slot: usize, value: usize) {
        let at = self.count.min(DEPTH - 1);
        self.frames[at] = frame;
        self.slots[at] = slot as u64;
        self.values[at] = value as u64;
        // Cut off here, by a longjmp, the stack ends in what is whole.
        compiler_fence(Ordering::SeqCst);
        self.count = at + 1;
    }

    /// From which frame on, outwards, every return address still stands
    /// where this stack found it; `count` when the outermost one does not.
    fn still_standing(&self, from: usize) -> usize {
        let mut at = self.count.min(DEPTH);
        while at > 0 && self.slots[at - 1] >= from as u64 {
            let (slot, value) = (self.slots[at - 1], self.values[at - 1]);
            // SAFETY: at or above the present frame on this thread's own
            // stack, which is in use up to its top.
            if unsafe { *(slot as *const u64) } != value {
                break;
            }
            at -= 1;
        }
        at
    }

    /// The first frame at or after `from` that does not lie below `slot`.
    fn find(&self, slot: usize, from: usize) -> usize {
        let slots = self
            .slots
            .get(from..self.count.min(DEPTH))
            .unwrap_or_default();
        from + slots
            .iter()
            .take_while(|older| **older < slot as u64)
            .count()
    }

    /// Whether frame `at` is the one at `slot`.
    fn is_at(&self, at: usize, slot: usize) -> bool {
        at < self.count.min(DEPTH) && self.slots[at] == slot as u64
    }

    /// Takes over what `older` has from `at` on.
    fn splice(&mut self, older: &Stack, at: usize) {
        for i in at..older.count.min(DEPTH) {
            if self.count == DEPTH {
                self.cut = true;
                return;
            }
            self.push(
                older.frames[i],
                older.slots[i] as usize,
                older.values[i] as usize,
            );
        }
        self.cut |= older.cut;
    }
}

/// Takes the stack of `caller`. False when it is not on the thread's own.
///
/// Where the walk comes upon a frame of the stack taken before, and all
/// return addresses outwards are as they were, the rest is taken from there.
/// Without a segment only the return addresses are of use.
pub fn take(segment: Option<&Segment>, state: &mut ThreadState, caller: Caller) -> bool {
    if !stack_holds(caller.stack_pointer) {
        return false;
    }
    let fresh = state.rules.refresh();
    let (stack, older) = state.stacks.turn();
    (stack.count, stack.cut) = (0, false);
    let Some(mut walk) = Walk::start(caller) else {
        return false;
    };
    let stands = if fresh {
        DEPTH
    } else {
        older.still_standing(caller.stack_pointer)
    };
    let (mut slot, mut beside) = (caller.stack_pointer, stands);
    while plausible(walk.pc) {
        if stack.count == DEPTH {
            stack.cut = true;
            break;
        }
        beside = older.find(slot, beside);
        if older.is_at(beside, slot) && !walk.exact {
            stack.splice(older, beside);
            break;
        }
        let rule = state.rules.rule(segment, walk.pc, walk.exact);
        stack.push(rule.frame, slot, walk.pc);
        match walk.go(rule.step) {
            Some(next) => slot = next,
            None => break,
        }
    }
    true
}

/// Frames that [`came_by_calls`] follows.
const MOST_FRAMES: usize = 8192;

/// Whether `caller` was reached from the thread's start by ordinary calls
/// only, as the unwind tables have it without a gap, and every function on the
/// way passes. A signal handler's frame is no such call, and where nothing is
/// known for certain the answer is no.
pub fn came_by_calls(caller: Caller, mut passes: impl FnMut(usize) -> bool) -> bool {
    let start = stack_holds(caller.stack_pointer).then(|| Walk::start(caller));
    let Some(mut walk) = start.flatten() else {
        return false;
    };
    for _ in 0..MOST_FRAMES {
        // A return address may lie behind the calling function's last byte.
        let address = walk.pc.wrapping_sub(1);
        let module = modules::find(address).filter(|_| plausible(walk.pc));
        match module.map(|module| cfi::step(module.eh_frame_header, address)) {
            Some(Step::End) => return true,
            Some(step @ Step::Call(..)) if passes(address) && walk.go(step).is_some() => {}
            _ => return false,
        }
    }
    false
}

fn plausible(pc: usize) -> bool {
    (4096..1 << 47).contains(&pc)
}
