//! Descriptors that something has to be done about before they are used again.
//!
//! A trapped number's stamp never equals the tick, so its next use leaves the
//! stubs' fast path and comes to [`hit`]. What is to be done stands here, in
//! memory that a forked child gets a copy of, whether it has a segment or not;
//! so a trap holds also while nothing is stamped.
//!
//! A trap is about an object (I5): device and inode under the number are
//! compared each time. A number that came to mean something else past every
//! hook is free of it. Nobody waits for anybody here: the words of a trap are
//! written by the one thread at the mailbox, and taken back by whoever is given
//! the number next.

use crate::page::PAGE;
use crate::{live, retire, stamps, sys};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use shm_protocol::activity::TRAPPED;

/// Numbers from here on cannot be trapped; they have no stamps either.
const NUMBERS: usize = stamps::NUMBERS as usize;

/// What is to be done: words of `Trap::what`.
mod what {
    /// Nothing.
    pub const NOTHING: u64 = 0;
    /// A socket that was hung up from outside: writes answer EPIPE.
    pub const HUNG_UP: u64 = 1;
}

/// A number's trap.
pub struct Trap {
    /// What is to be done: the low byte says which word of `what` or state of
    /// [`crate::retire`], the rest is theirs.
    pub what: AtomicU64,
    device: AtomicU64,
    inode: AtomicU64,
}

impl Trap {
    /// Device and inode that it is about.
    pub fn object(&self) -> (u64, u64) {
        let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
        (word(&self.device), word(&self.inode))
    }

    /// Whether a number names that object.
    pub fn is_named_by(&self, fd: u32) -> bool {
        sys::stat_of(fd).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.object())
    }
}

/// [`NUMBERS`] of them, mapped with the first one; null until then. The stubs
/// test it.
#[unsafe(link_section = ".data.hot.first")]
pub static TRAPS: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());

/// Whether there ever was a trap.
#[inline(always)]
pub fn any() -> bool {
    !TRAPS.load(Ordering::Acquire).is_null()
}

/// The trap of a number, if there are any.
pub fn place(fd: u32) -> Option<&'static Trap> {
    let all = TRAPS.load(Ordering::Acquire).cast::<Trap>();
    let fits = !all.is_null() && (fd as usize) < NUMBERS;
    // SAFETY: `room` maps so many zeroed ones, made of atomics only, for good.
    fits.then(|| unsafe { &*all.add(fd as usize) })
}

/// Makes room for traps; it takes memory where there are some.
fn room() -> Option<()> {
    if !any() {
        let made = sys::map_private(NUMBERS * size_of::<Trap>())?;
        TRAPS.store(made, Ordering::Release);
    }
    Some(())
}

/// From now on writes to this socket answer EPIPE, and no signal comes of
/// them. By the thread at the mailbox. None when there is no room.
pub fn expect_hang_up(fd: u32, object: (u64, u64)) -> Option<()> {
    set(fd, what::HUNG_UP, object)
}

/// Sets a trap, the stamp last: a use that it lets by has not begun to look
/// here. None when there is no room.
pub fn set(fd: u32, what: u64, (device, inode): (u64, u64)) -> Option<()> {
    room()?;
    let trap = place(fd)?;
    trap.what.store(what::NOTHING, Ordering::Release);
    trap.device.store(device, Ordering::Relaxed);
    trap.inode.store(inode, Ordering::Relaxed);
    trap.what.store(what, Ordering::Release);
    stamps::trap(fd);
    Some(())
}

/// The number names something new.
#[inline(always)]
pub fn forget(fd: u32) {
    if any() {
        forget_slowly(fd);
    }
}

#[cold]
#[inline(never)]
fn forget_slowly(fd: u32) {
    retire::closed(fd);
}

/// A duplicate is as hung up as its source.
pub fn duplicated(from: u32, to: u32) {
    let Some(trap) = place(from).filter(|_| is_hung_up(from)) else {
        return;
    };
    set(to, what::HUNG_UP, trap.object());
}

/// Whether writes to this number are to answer EPIPE.
#[inline(always)]
pub fn is_hung_up(fd: u32) -> bool {
    any() && is_hung_up_slowly(fd)
}

#[cold]
#[inline(never)]
fn is_hung_up_slowly(fd: u32) -> bool {
    let trap = place(fd).filter(|trap| trap.what.load(Ordering::Acquire) == what::HUNG_UP);
    trap.is_some_and(|trap| live::frozen() || trap.is_named_by(fd))
}

/// A descriptor whose stamp is not the tick, or that has none (null), is about
/// to be used: stamps it. Not 0 if a write to it must not be made.
pub extern "C" fn hit(fd: u32, stamp: *const AtomicU32) -> u32 {
    // SAFETY: null, or a number's place in a run of stamps, never unmapped.
    let stamp = unsafe { stamp.as_ref() };
    let before = stamp.map(|stamp| stamp.load(Ordering::Acquire));
    let hung_up = is_hung_up(fd);
    if !hung_up {
        retire::used(fd);
    }
    if let (Some(stamp), Some(before)) = (stamp, before) {
        let bit = if hung_up { TRAPPED } else { 0 };
        let now = PAGE.stamps.now.load(Ordering::Relaxed) | bit;
        // Fails where a trap was set meanwhile: that must stay.
        let _ = stamp.compare_exchange(before, now, Ordering::AcqRel, Ordering::Relaxed);
    }
    hung_up.into()
}

/// What a write to something that was hung up answers: send(2).
pub extern "C" fn broken_pipe() -> isize {
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() = libc::EPIPE };
    -1
}
