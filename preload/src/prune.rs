//! Removal of what dead neighbours left: a few at every eighth start.
//!
//! The last to live are kept, since a crash is worth a report; of a normal end
//! nothing is, where the process could only say so. Only files of our own
//! user and pid namespace are looked at.

use crate::text::{Text, leading_number};
use crate::{file, live, sys};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use shm_protocol::codes::State;
use shm_protocol::layout::{Header, MAGIC};

/// Entries looked at, at most: start-up is not the time for long walks.
const LOOK_AT: usize = 80;
/// Dead ones that stay: the last to live, of those that crashed and of those
/// that ended and are kept, each. A build under `run` pushes no crash out.
const KEEP: usize = 16;

/// One start of so many looks: it takes a sixth of what a start takes.
const EVERY: u32 = 8;
/// The same of forked children, which begin for less.
const EVERY_CHILD: u32 = 32;

/// Whether it is this process's turn.
pub fn is_due(forked: bool) -> bool {
    let every = if forked { EVERY_CHILD } else { EVERY };
    sys::getpid().is_multiple_of(every)
}

/// What is found of each name, in order: [`STAYS`], [`GOES`], or until when it
/// lived, in ns since 1970, with 1 in the lowest bit for a crash.
#[unsafe(link_section = ".bss.memguard_tables")]
static FOUND: [AtomicU64; LOOK_AT] = [const { AtomicU64::new(STAYS) }; LOOK_AT];
const STAYS: u64 = 0;
const GOES: u64 = u64::MAX;

/// Looks at some names in `folder` and unlinks those of processes long dead.
pub fn dead_neighbours(folder: &mut Text, namespace: u64) {
    let own = folder.bytes().len();
    let fd = sys::open(folder.path(), libc::O_RDONLY | libc::O_DIRECTORY, 0);
    if fd < 0 {
        return;
    }
    let buffer = live::room();
    let filled = sys::getdents(fd, buffer);
    sys::close(fd);
    let listed = &buffer[..filled];
    let mut count = 0;
    for (name, found) in names(listed).zip(&FOUND) {
        let dead = is_dead(name, namespace);
        let what = if dead {
            lived_until(folder.cut(own).push(name))
        } else {
            STAYS
        };
        found.store(what, Relaxed);
        count += 1;
    }
    for (name, found) in names(listed).zip(&FOUND) {
        let found = found.load(Relaxed);
        if found == GOES || found != STAYS && later_ones(found, count) >= KEEP {
            file::remove(folder.cut(own).push(name));
        }
    }
}

/// How many of the same sort lived longer.
fn later_ones(found: u64, count: usize) -> usize {
    let all = FOUND.iter().take(count).map(|other| other.load(Relaxed));
    let later = |other: &u64| *other != GOES && *other > found && (*other ^ found) & 1 == 0;
    all.filter(later).count()
}

fn names(mut listed: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (name, rest) = next_name(listed)?;
        listed = rest;
        Some(name)
    })
}

/// First name of a getdents64 buffer, and what follows.
pub fn next_name(entries: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u16::from_le_bytes(entries.get(16..18)?.try_into().ok()?) as usize;
    let name = entries.get(19..length)?;
    let end = name.iter().position(|byte| *byte == 0)?;
    Some((&name[..end], entries.get(length..)?))
}

/// Of a dead process's file: [`GOES`] where it says of itself that nobody wants
/// it any more. What says nothing counts as the oldest of crashes.
fn lived_until(path: &Text) -> u64 {
    const HEAD_BYTES: usize = offset_of!(Header, tick_s) + 8;
    let mut head = [0u8; HEAD_BYTES];
    let fd = sys::open(path.path(), libc::O_NOFOLLOW | libc::O_NONBLOCK, 0);
    let read = if fd < 0 { 0 } else { sys::read(fd, &mut head) };
    if fd >= 0 {
        sys::close(fd);
    }
    let word = |at: usize| {
        head.get(at..)
            .and_then(|from| from.first_chunk())
            .map_or(0, |word| u64::from_le_bytes(*word))
    };
    if read != HEAD_BYTES || word(0) != MAGIC {
        return 1;
    }
    let state = word(offset_of!(Header, state)) as u32;
    let lived_ns = word(offset_of!(Header, tick_s)).saturating_mul(1_000_000_000);
    let until = word(offset_of!(Header, created_real_ns)).saturating_add(lived_ns);
    match state {
        _ if state == State::Unwanted as u32 => GOES,
        _ if state == State::Ended as u32 => (until & !1).max(2),
        _ => until.min(GOES - 2) | 1,
    }
}

/// Whether `<namespace>.<pid>.<start>.<n>` names a dead process of ours. What
/// has an ending lies beside such a file and goes with it.
fn is_dead(name: &[u8], namespace: u64) -> bool {
    let mut parts = name.split(|byte| *byte == b'.');
    let mut part = || parts.next().and_then(leading_number);
    let (Some(there), Some(pid), Some(_), Some(_)) = (part(), part(), part(), part()) else {
        return false;
    };
    let whole = parts.next().is_none();
    whole && there == namespace && sys::kill_probe(pid as u32) == -(libc::ESRCH as isize)
}
