//! Unwinding steps that relatives have worked out.
//!
//! Each child of a server that forks for every connection walks the same stacks,
//! through code that its parent never runs: reading the unwind tables anew was a
//! fifth of what such a child costs. So what one of a family has worked out, the
//! next one finds in memory that fork shares. It is made at a parent's fourth
//! fork: most programs fork now and then, and each mapping makes a fork dearer.
//!
//! Entries are written once and never changed. They serve whoever has loaded and
//! unloaded nothing since it was forked: another child may have another module in
//! the same place. Should two be taken for one all the same, a stack is wrong, and
//! no more.

use crate::cfi::{Cfa, Pointer, Step};
use crate::modules::Module;
use crate::{live, modules, sys};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Entries: four pages.
const ENTRIES: usize = 1024;
/// Entries looked at for one address: a cache line.
const TOGETHER: usize = 4;
/// A fork from which on the memory is there.
const WORTH_IT: u32 = 4;
/// A key that is none: somebody writes this entry.
const TAKEN: u64 = 1;

struct Entry {
    key: AtomicU64,
    step: AtomicU64,
}

/// Zeroed memory is an empty table.
#[repr(C, align(64))]
struct Table([Entry; ENTRIES]);

#[unsafe(link_section = ".bss.memguard_child")]
static TABLE: AtomicPtr<Table> = AtomicPtr::new(core::ptr::null_mut());
#[unsafe(link_section = ".bss.memguard_child")]
static FORKS: AtomicU32 = AtomicU32::new(0);
/// `modules::generation` at the last fork: the parent's, or this process's own.
#[unsafe(link_section = ".bss.memguard_child")]
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The program is about to fork.
pub fn forking() {
    let forks = FORKS.load(Ordering::Relaxed).saturating_add(1);
    FORKS.store(forks, Ordering::Relaxed);
    GENERATION.store(modules::generation(), Ordering::Relaxed);
    // Once: where it cannot be had, it will not be later.
    if forks == WORTH_IT && TABLE.load(Ordering::Relaxed).is_null() && !live::frozen() {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        if let Some(table) = sys::map(size_of::<Table>(), protection, flags, -1) {
            TABLE.store(table.cast(), Ordering::Release);
        }
    }
}

/// What to do at `pc`, by whoever worked it out first: perhaps `work_out`, now.
pub fn step(module: &Module, (pc, exact): (usize, bool), work_out: impl Fn() -> Step) -> Step {
    let generation = modules::generation();
    // SAFETY: null, or made by `forking` and never unmapped.
    let table = unsafe { TABLE.load(Ordering::Acquire).as_ref() };
    let all_inherited = GENERATION.load(Ordering::Relaxed) == generation;
    let Some(table) = table.filter(|_| all_inherited) else {
        return work_out();
    };
    let key = key_of(module, generation, pc, exact);
    table.find(key).unwrap_or_else(|| {
        let step = work_out();
        table.keep(key, step);
        step
    })
}

/// Never 0 or [`TAKEN`].
fn key_of(module: &Module, generation: u32, pc: usize, exact: bool) -> u64 {
    let header = module.eh_frame_header as usize;
    let facts = [generation as usize, module.start, module.end, header];
    let mixed = facts.iter().fold(0u64, |mixed, &fact| {
        (mixed ^ fact as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    });
    (mixed & 0xFFFF << 48) | ((pc as u64) << 1 & 0xFFFF_FFFF_FFFF) | u64::from(exact)
}

impl Table {
    fn line(&self, key: u64) -> &[Entry] {
        let mixed = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let first = mixed as usize % (ENTRIES / TOGETHER) * TOGETHER;
        &self.0[first..first + TOGETHER]
    }

    fn find(&self, key: u64) -> Option<Step> {
        let known = |entry: &&Entry| entry.key.load(Ordering::Acquire) == key;
        let entry = self.line(key).iter().find(known)?;
        Some(unpack(entry.step.load(Ordering::Relaxed)))
    }

    /// Keeps a step, unless its line is full or it has unusual numbers.
    fn keep(&self, key: u64, step: Step) {
        let Some(packed) = pack(step) else { return };
        let take = |entry: &&Entry| {
            let key = &entry.key;
            key.compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        };
        if let Some(entry) = self.line(key).iter().find(take) {
            entry.step.store(packed, Ordering::Relaxed);
            entry.key.store(key, Ordering::Release);
        }
    }
}

/// Width of an offset in a packed step.
const WIDTH: u32 = 29;

/// A step in one word: its kind, those of its two parts, and their offsets.
fn pack(step: Step) -> Option<u64> {
    let (cfa, pointer) = match step {
        Step::None => return Some(0),
        Step::Signal => return Some(2),
        Step::End => return Some(3),
        Step::Call(cfa, pointer) => (cfa, pointer),
    };
    let (cfa, from_cfa) = match cfa {
        Cfa::Stack(offset) => (0, offset),
        Cfa::Frame(offset) => (1, offset),
        Cfa::InFrame(offset) => (2, offset),
        Cfa::Unknown => (3, 0),
    };
    let (pointer, from_pointer) = match pointer {
        Pointer::Same => (0, 0),
        Pointer::At(offset) => (1, offset),
        Pointer::AtFrame(offset) => (2, offset),
        Pointer::Gone => (3, 0),
    };
    let offsets = narrow(from_cfa)? | narrow(from_pointer)? << WIDTH;
    Some(1 | cfa << 2 | pointer << 4 | offsets << 6)
}

fn unpack(word: u64) -> Step {
    let offset = wide(word >> 6);
    let cfa = match word >> 2 & 3 {
        0 => Cfa::Stack(offset),
        1 => Cfa::Frame(offset),
        2 => Cfa::InFrame(offset),
        _ => Cfa::Unknown,
    };
    let offset = wide(word >> (6 + WIDTH));
    let pointer = match word >> 4 & 3 {
        0 => Pointer::Same,
        1 => Pointer::At(offset),
        2 => Pointer::AtFrame(offset),
        _ => Pointer::Gone,
    };
    match word & 3 {
        0 => Step::None,
        1 => Step::Call(cfa, pointer),
        2 => Step::Signal,
        _ => Step::End,
    }
}

/// The offset in [`WIDTH`] bits, if it fits.
fn narrow(offset: i32) -> Option<u64> {
    let bits = u64::from(offset as u32) & ((1 << WIDTH) - 1);
    (wide(bits) == offset).then_some(bits)
}

fn wide(bits: u64) -> i32 {
    ((bits << (64 - WIDTH)) as i64 >> (64 - WIDTH)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Table {
        // SAFETY: words only.
        unsafe { core::mem::zeroed() }
    }

    fn steps() -> Vec<Step> {
        let offsets = [0, 8, -16, 4096, -(1 << 28), (1 << 28) - 1];
        let calls = offsets.iter().flat_map(|&offset| {
            let cfas = [
                Cfa::Stack(offset),
                Cfa::Frame(offset),
                Cfa::InFrame(offset),
                Cfa::Unknown,
            ];
            cfas.map(|cfa| {
                [
                    Pointer::Same,
                    Pointer::At(offset),
                    Pointer::AtFrame(-8),
                    Pointer::Gone,
                ]
                .map(|pointer| Step::Call(cfa, pointer))
            })
        });
        calls
            .flatten()
            .chain([Step::None, Step::Signal, Step::End])
            .collect()
    }

    #[test]
    fn a_step_is_found_as_it_was_kept() {
        let table: Table = empty();
        for (number, &step) in steps().iter().enumerate() {
            let key = (number as u64 + 1) << 1;
            assert_eq!(table.find(key), None);
            table.keep(key, step);
            assert!(
                table.find(key).is_none_or(|found| found == step),
                "{step:?}"
            );
        }
        let kept = (1..=steps().len() as u64).filter(|number| table.find(number << 1).is_some());
        assert_eq!(kept.count(), steps().len());
    }

    #[test]
    fn what_is_too_wide_is_not_kept() {
        let table: Table = empty();
        table.keep(2, Step::Call(Cfa::Stack(1 << 28), Pointer::Same));
        assert_eq!(table.find(2), None);
    }

    #[test]
    fn a_full_line_takes_no_more_and_loses_nothing() {
        let table: Table = empty();
        let keys: Vec<u64> = (1..5000).map(|pc| pc << 1).collect();
        keys.iter().for_each(|&key| table.keep(key, Step::Signal));
        let found: Vec<u64> = keys
            .iter()
            .copied()
            .filter(|&key| table.find(key).is_some())
            .collect();
        table.keep(1 << 40, Step::End);
        assert!(found.len() > ENTRIES / 2 && found.len() <= ENTRIES);
        assert!(
            found
                .iter()
                .all(|&key| table.find(key) == Some(Step::Signal))
        );
    }
}
