//! Files that are taken from their numbers for a while: parked on a high
//! number, with a placeholder where they were, that the first use swaps back.
//!
//! | state | what the number names | the next use |
//! |---|---|---|
//! | marked | the file | takes the mark off: it is in use after all |
//! | retired | an O_PATH placeholder: EBADF, never silent success | puts the file back first |
//! | restored | the file, which is also still parked | nothing |
//!
//! A use that looked before the mark was set may come to the kernel any time
//! later. So memguard sets the mark first, sees every thread wait for something
//! else (`cli/src/fix/retire.rs`), and only then has the file taken.
//!
//! Whoever swaps owns the state "busy" meanwhile, with its signals blocked: one
//! system call. Another thread that uses the same number at that moment lets
//! it go first, for a bounded number of turns (the one place where I1 bends).
//! The program never learns of the parked numbers: its closes go around them,
//! and what it places on one has the file given back before.

use crate::text::Text;
use crate::traps::{self, Trap};
use crate::{descriptors, live, sys};
use core::ffi::c_char;
use core::sync::atomic::{AtomicU32, Ordering};

/// Files that can be parked at once.
const MOST: usize = 1024;
/// Parked from here on, where the limit allows: the kernel's table of numbers
/// grows up to there.
const PARKED_FROM: u64 = 16_384;
/// So much of a path is looked at: /proc/PID/task/TID/fd/N is shorter.
const LONGEST: usize = 128;
/// Turns given to a thread that is swapping.
const TURNS: usize = 10_000;

/// States, in the low byte of `Trap::what`; bit 8 says close-on-exec, the
/// parked number lies above 32.
mod state {
    pub const MARKED: u64 = 2;
    pub const BUSY: u64 = 3;
    pub const RETIRED: u64 = 4;
    pub const RESTORED: u64 = 5;
    /// A number where a file is parked; its owner lies above 32.
    pub const PARKED: u64 = 6;
}

const CLOEXEC: u64 = 1 << 8;

/// How many are parked. The stubs of poll and exec test it.
#[unsafe(link_section = ".data.hot.first")]
pub static PARKED: AtomicU32 = AtomicU32::new(0);
/// Their owners' numbers plus one.
#[unsafe(link_section = ".bss.memguard_tables")]
static OWNERS: [AtomicU32; MOST] = [const { AtomicU32::new(0) }; MOST];

/// What became of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It was done.
    Done,
    /// The program has used it meanwhile.
    Used,
    /// It names another file.
    Other,
    /// There is no room, or the kernel refused.
    Failed(isize),
}

fn kind(word: u64) -> u64 {
    word & 0xFF
}

fn parked(word: u64) -> u32 {
    (word >> 32) as u32
}

fn with(word: u64, kind: u64) -> u64 {
    word & !0xFF | kind
}

/// The next use of this number is to be noticed. By the thread at the mailbox.
pub fn mark(fd: u32, object: (u64, u64)) -> Wish {
    if let Some(trap) = traps::place(fd) {
        match kind(trap.what.load(Ordering::Acquire)) {
            state::RESTORED if is_locked(trap) => return Wish::Used,
            state::RESTORED => let_go(fd, trap),
            state::RETIRED | state::BUSY => return Wish::Used,
            _ => {}
        }
    }
    match traps::set(fd, state::MARKED, object) {
        Some(()) => Wish::Done,
        None => Wish::Failed(-(libc::ENOMEM as isize)),
    }
}

/// Takes a marked file from its number. By the thread at the mailbox.
pub fn retire(fd: u32, object: (u64, u64)) -> Wish {
    let Some(trap) = traps::place(fd).filter(|trap| trap.object() == object) else {
        return Wish::Used;
    };
    if kind(trap.what.load(Ordering::Acquire)) != state::MARKED {
        return Wish::Used;
    }
    let copy = sys::duplicate_from(fd, first_parked());
    let Ok(copy) = u32::try_from(copy) else {
        return Wish::Failed(copy);
    };
    let wish = take(fd, copy, trap);
    if wish != Wish::Done {
        sys::close(copy as isize);
    }
    wish
}

/// High enough to be out of the program's way, and below its limit.
fn first_parked() -> u32 {
    let (limit, _) = sys::limit(libc::RLIMIT_NOFILE);
    (limit / 4 * 3).min(PARKED_FROM) as u32
}

fn take(fd: u32, copy: u32, trap: &Trap) -> Wish {
    if !trap.is_named_by(copy) {
        return Wish::Other;
    }
    let free = OWNERS
        .iter()
        .find(|owner| owner.load(Ordering::Relaxed) == 0);
    let (Some(owner), Some(home)) = (free, traps::place(copy)) else {
        return Wish::Failed(-(libc::ENFILE as isize));
    };
    let placeholder = placeholder(copy);
    if placeholder < 0 {
        return Wish::Failed(placeholder);
    }
    let cloexec = if sys::is_cloexec(fd) { CLOEXEC } else { 0 };
    let word = u64::from(copy) << 32 | cloexec;
    let busy = with(word, state::BUSY);
    let won = trap
        .what
        .compare_exchange(state::MARKED, busy, Ordering::AcqRel, Ordering::Relaxed);
    if won.is_err() {
        sys::close(placeholder);
        return Wish::Used;
    }
    owner.store(fd + 1, Ordering::Release);
    PARKED.fetch_add(1, Ordering::AcqRel);
    home.what
        .store(u64::from(fd) << 32 | state::PARKED, Ordering::Release);
    let status = sys::place(placeholder as u32, fd, cloexec != 0);
    sys::close(placeholder);
    trap.what
        .store(with(word, state::RETIRED), Ordering::Release);
    if status < 0 {
        // It still names the file: as if it had been put back already.
        trap.what
            .store(with(word, state::RESTORED), Ordering::Release);
        let_go(fd, trap);
        return Wish::Failed(status);
    }
    Wish::Done
}

/// Something that can be neither read nor written, by its number or by a path
/// through /proc/PID/fd: that meets a symbolic link, and ELOOP. It is the link
/// to where the file is parked, so its name tells that. Without /proc: "/".
fn placeholder(parked: u32) -> isize {
    let mut text = Text::new();
    text.push(b"/proc/self/fd/").number(parked.into());
    match sys::open(text.path(), libc::O_PATH | libc::O_NOFOLLOW, 0) {
        link @ 0.. => link,
        _ => sys::open(c"/", libc::O_PATH, 0),
    }
}

/// The number is about to be used: what is parked comes back first.
#[inline(always)]
pub fn due(fd: i32) {
    if traps::any() {
        used(fd as u32);
    }
}

/// The same, where there are traps.
#[cold]
#[inline(never)]
pub fn used(fd: u32) {
    let Some(trap) = traps::place(fd) else { return };
    let word = trap.what.load(Ordering::Acquire);
    match kind(word) {
        state::MARKED if descriptors::ours() => {
            let _ = trap
                .what
                .compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
        state::RETIRED | state::BUSY => give_back(fd, trap),
        // A child with descriptors of its own may still have the placeholder.
        state::RESTORED if !descriptors::ours() => swap_in(fd, trap, word),
        _ => {}
    }
}

fn give_back(fd: u32, trap: &Trap) {
    if live::frozen() {
        return;
    }
    if !descriptors::ours() {
        return swap_in(fd, trap, trap.what.load(Ordering::Acquire));
    }
    let signals = sys::block_signals(u64::MAX);
    if let Some(word) = own(trap) {
        swap_in(fd, trap, word);
        trap.what
            .store(with(word, state::RESTORED), Ordering::Release);
    }
    sys::block_signals(signals);
}

/// Makes the state busy, if something is parked and it is not in use.
fn own(trap: &Trap) -> Option<u64> {
    for _ in 0..TURNS {
        let word = trap.what.load(Ordering::Acquire);
        match kind(word) {
            state::RETIRED => {
                let busy = with(word, state::BUSY);
                let won =
                    trap.what
                        .compare_exchange(word, busy, Ordering::AcqRel, Ordering::Relaxed);
                if won.is_ok() {
                    return Some(word);
                }
            }
            state::BUSY => sys::yield_now(),
            _ => return None,
        }
    }
    // Its owner never comes on: it was forked away in the middle.
    let word = trap.what.load(Ordering::Acquire);
    (kind(word) == state::BUSY).then_some(word)
}

/// Puts the file where its placeholder is. Nothing else is ever replaced, and
/// nothing else put there.
fn swap_in(fd: u32, trap: &Trap, word: u64) {
    if sys::is_place_only(fd) && trap.is_named_by(parked(word)) {
        sys::place(parked(word), fd, word & CLOEXEC != 0);
    }
}

/// Puts the file back, and parks it no longer. Says whether the program has
/// used it. A child in this memory puts it back in its own table, and changes
/// nothing else: what is parked is its parent's.
pub fn restore(fd: u32) -> Option<Wish> {
    let trap = traps::place(fd)?;
    if !descriptors::ours() {
        used(fd);
        return Some(Wish::Done);
    }
    let wish = match kind(trap.what.load(Ordering::Acquire)) {
        state::RESTORED => Wish::Used,
        state::RETIRED | state::BUSY => {
            give_back(fd, trap);
            Wish::Done
        }
        _ => return None,
    };
    if !is_locked(trap) {
        let_go(fd, trap);
    }
    Some(wish)
}

/// POSIX locks are of the process: closing any descriptor of the file drops
/// them, so what is parked stays until they are given back.
fn is_locked(trap: &Trap) -> bool {
    let copy = parked(trap.what.load(Ordering::Acquire));
    trap.is_named_by(copy) && sys::has_posix_lock(copy)
}

/// The quarantine is over: the parked file is closed for good, its number
/// keeps the placeholder. One that was used meanwhile stays the program's.
pub fn end(fd: u32) -> Option<Wish> {
    let trap = traps::place(fd)?;
    if is_locked(trap) {
        restore(fd);
        return Some(Wish::Used);
    }
    let word = own(trap);
    let Some(word) = word else {
        return restore(fd);
    };
    trap.what
        .store(with(word, state::RESTORED), Ordering::Release);
    let_go(fd, trap);
    Some(Wish::Done)
}

/// The number is given back: so is what is parked for it.
pub fn closed(fd: u32) {
    let Some(trap) = traps::place(fd) else { return };
    if own(trap).is_some() || kind(trap.what.load(Ordering::Acquire)) == state::RESTORED {
        let_go(fd, trap);
    } else {
        trap.what.store(0, Ordering::Release);
    }
}

/// Closes the parked number, if it is still that, and forgets all about it.
fn let_go(fd: u32, trap: &Trap) {
    let word = trap.what.swap(0, Ordering::AcqRel);
    let copy = parked(word);
    if let Some(home) = traps::place(copy) {
        home.what.store(0, Ordering::Release);
    }
    if trap.is_named_by(copy) {
        sys::close(copy as isize);
    }
    for owner in &OWNERS {
        let mine = owner.compare_exchange(fd + 1, 0, Ordering::AcqRel, Ordering::Relaxed);
        if mine.is_ok() {
            PARKED.fetch_sub(1, Ordering::AcqRel);
            return;
        }
    }
}

/// The number for which a file is parked at this one.
pub fn owner_of(fd: u32) -> Option<u32> {
    let word = traps::place(fd)?.what.load(Ordering::Acquire);
    (kind(word) == state::PARKED).then(|| parked(word))
}

/// Something is about to be placed on this number: nothing may be parked there,
/// and what it named itself comes back first, in case the call fails.
pub fn make_way(fd: i32) {
    if PARKED.load(Ordering::Acquire) == 0 {
        return;
    }
    used(fd as u32);
    if let Some(owner) = owner_of(fd as u32).filter(|_| descriptors::ours()) {
        restore(owner);
    }
}

fn each(mut of: impl FnMut(u32, &Trap, u64)) {
    if PARKED.load(Ordering::Acquire) == 0 {
        return;
    }
    for owner in &OWNERS {
        let fd = owner.load(Ordering::Acquire).wrapping_sub(1);
        if let Some(trap) = traps::place(fd) {
            of(fd, trap, trap.what.load(Ordering::Acquire));
        }
    }
}

/// A range of numbers is about to be closed or changed: what is parked in it
/// for a number outside of it comes back.
pub fn before_range(first: u32, last: u32, closes: bool) {
    let range = first..=last;
    each(|fd, _, word| {
        let inside = range.contains(&fd);
        let kept = inside && closes;
        if (inside || range.contains(&parked(word))) && !kept {
            restore(fd);
        }
    });
}

/// The program is about to start another, which is handed what is not
/// close-on-exec by its number.
pub extern "C" fn before_exec() {
    each(|fd, _, word| {
        if word & CLOEXEC == 0 {
            used(fd);
        }
    });
}

/// A path is about to be followed: one through a retired number, as in
/// /proc/self/fd/7, finds the file.
pub extern "C" fn before_path(path: *const c_char) {
    let mut copy = [0; LONGEST];
    let length = sys::copy_own(path as usize, &mut copy).min(LONGEST);
    let mut before: &[u8] = b"fd";
    for name in copy[..length].split(|byte| matches!(*byte, b'/' | 0)) {
        if before == b"fd" {
            number(name).into_iter().for_each(used);
        }
        before = name;
    }
}

/// The same, where files are retired.
#[inline(always)]
pub fn named(path: *const c_char) {
    if PARKED.load(Ordering::Acquire) != 0 {
        before_path(path);
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    let is_one = !digits.is_empty() && digits.len() < 8;
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u32::from(byte - b'0'));
    let all = is_one.then_some(digits)?.iter();
    all.map(digit)
        .try_fold(0, |sum, digit| Some(sum * 10 + digit?))
}

/// Everything comes back for good.
pub fn restore_all() {
    each(|fd, _, _| {
        restore(fd);
    });
}

/// poll(2) is about to look at these.
pub extern "C" fn before_poll(all: *const libc::pollfd, count: u64) {
    if all.is_null() {
        return;
    }
    for at in 0..count.min(1 << 20) as usize {
        // SAFETY: the caller's array for poll(2).
        used(unsafe { (*all.add(at)).fd } as u32);
    }
}

/// select(2) is about to look at these. The sets are only read.
pub extern "C" fn before_select(count: i32, one: *const u64, other: *const u64, third: *const u64) {
    for set in [one, other, third].iter().filter(|set| !set.is_null()) {
        for fd in 0..count.max(0) as usize {
            // SAFETY: the caller's set, which holds that many bits (select(2)).
            let word = unsafe { set.add(fd / 64).read_unaligned() };
            if word >> (fd % 64) & 1 == 1 {
                used(fd as u32);
            }
        }
    }
}
