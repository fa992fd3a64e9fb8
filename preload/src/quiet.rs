//! Quiet moments: where work that takes locks may be done.
//!
//! A thread that is about to wait of itself (epoll_wait, poll, select, accept,
//! sleep) holds no lock of malloc's, of the loader's or of libc's, if it came
//! there by ordinary calls from its start. That is what the unwind tables are
//! asked for, frame by frame: a signal handler's frame may lie over malloc, a
//! call back from libc (an atexit or fork handler, a comparison of qsort) or
//! from the loader over one of their locks, an allocator sleeps while another
//! thread has its lock. On a coroutine's or an alternate stack, through code
//! without tables, in a child that shares this memory and under a filter it is
//! no quiet moment either. What waits then goes on waiting, until its time is
//! over.
//!
//! `memguard_poll` is called by the program for this very purpose: there
//! nothing but the process is checked.

use crate::boot::{self, Code};
use crate::page::PAGE;
use crate::segment::Segment;
use crate::unwind::{self, Caller};
use crate::{allocators, caches, clock, execute, live, mode, python, sqlite, sys, tls};
use core::sync::atomic::Ordering;
use shm_protocol::codes::Section;
use shm_protocol::mailbox::{Answer, Command, GIVEN, MailSlot, Place, SLOTS, Verb, mail};

/// Room on the stack for an allocator or a callback.
const ROOM_BYTES: usize = 64 * 1024;
/// Signals that a fault raises on the thread itself: blocked, they would kill.
const FAULTS: [i32; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// A hook whose call waits.
#[inline]
pub fn about_to_wait(sp: usize, bp: usize) {
    let mail = PAGE.mail.load(Ordering::Relaxed);
    // SAFETY: null or a word of the header, which is never unmapped.
    if unsafe { mail.as_ref() }.is_some_and(|mail| mail.load(Ordering::Relaxed) & mail::QUIET != 0)
    {
        look(sp, bp);
    }
}

/// Mail waits for a quiet moment, and a call that waits comes by. A thread that
/// may be cancelled at any time is cancelled within, if at all.
#[cold]
pub extern "C-unwind" fn look(sp: usize, bp: usize) {
    let errno = super::hooks::errno();
    if let Some(segment) = live::segment().filter(|segment| may(segment)) {
        let mail = &segment.header().mail;
        // Before the slots: what comes in later sets it again.
        mail.fetch_and(!mail::QUIET, Ordering::AcqRel);
        let measures = caches::want_quiet();
        let wanted = measures || waits(segment, false);
        if wanted && !(is_quiet(sp, bp) && round(segment, false, measures)) {
            mail.fetch_or(mail::QUIET, Ordering::AcqRel);
        }
    }
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() = errno };
}

/// The program says that this is a good moment.
pub fn at_poll(segment: &Segment, measures: bool) {
    let mail = &segment.header().mail;
    let asked = mail.load(Ordering::Relaxed) & mail::POLL != 0;
    if !(asked || measures) || !may(segment) {
        return;
    }
    let errno = super::hooks::errno();
    mail.fetch_and(!mail::POLL, Ordering::AcqRel);
    if !round(segment, true, measures) {
        mail.fetch_or(mail::POLL, Ordering::AcqRel);
    }
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() = errno };
}

/// Whether this is the segment's own process, and may make system calls.
fn may(segment: &Segment) -> bool {
    !live::frozen()
        && tls::block().flags & tls::flag::VFORK_CHILD == 0
        && sys::getpid() == segment.header().pid.load(Ordering::Relaxed)
}

/// Whether the thread that is about to wait holds nobody's lock, for all that
/// its stack tells.
fn is_quiet(sp: usize, bp: usize) -> bool {
    let caller = Caller {
        stack_pointer: sp,
        frame_pointer: bp,
    };
    let room = unwind::stack_holds(sp) && sp - tls::block().stack_low >= ROOM_BYTES;
    if !room || !boot::knows_modules() || sys::on_alternate_stack() {
        return false;
    }
    // Outermost comes libc, which started the thread; not in between.
    let mut start = false;
    unwind::came_by_calls(caller, |address| {
        let code = boot::code_at(address);
        start |= code == Code::Libc;
        code != Code::Locking && (code == Code::Libc || !start)
    })
}

fn slots(segment: &Segment) -> &'static [MailSlot] {
    let slots = segment.in_run::<MailSlot>(Section::Mailbox, 0, 0, SLOTS, false);
    slots.unwrap_or_default()
}

/// Whether a command may be carried out here, and not just anywhere.
fn fits(slot: &MailSlot, verb: Verb, at_poll: bool) -> bool {
    let number = || slot.arguments[0].load(Ordering::Relaxed);
    verb.place() == Place::Quiet && (verb != Verb::ShrinkCache || caches::fits(number(), at_poll))
}

fn waits(segment: &Segment, at_poll: bool) -> bool {
    let waiting = |slot: &MailSlot| slot.waiting().is_some_and(|verb| fits(slot, verb, at_poll));
    slots(segment).iter().any(waiting)
}

/// Measures caches and carries out one command. Whether none is left.
fn round(segment: &Segment, at_poll: bool, measures: bool) -> bool {
    let faults = FAULTS
        .iter()
        .fold(0u64, |all, fault| all | 1 << (fault - 1));
    let signals = sys::block_signals(!faults);
    let cancelling = set_cancelling(libc_cancel::DISABLE);
    let executing = &PAGE.executing;
    let mine = executing.swap(1, Ordering::Acquire) == 0;
    if mine {
        if measures {
            caches::measure(segment, !at_poll);
        }
        serve_one(segment, at_poll);
        executing.store(0, Ordering::Release);
    }
    set_cancelling(cancelling);
    sys::block_signals(signals);
    mine && !waits(segment, at_poll)
}

/// Values of pthread_setcancelstate(3).
mod libc_cancel {
    pub const DISABLE: i32 = 1;

    unsafe extern "C" {
        pub fn pthread_setcancelstate(state: i32, old: *mut i32) -> i32;
    }
}

/// A callback may come by a cancellation point. The state before.
fn set_cancelling(state: i32) -> i32 {
    let mut old = 0;
    // SAFETY: a flag of this thread.
    unsafe { libc_cancel::pthread_setcancelstate(state, &mut old) };
    old
}

fn serve_one(segment: &Segment, at_poll: bool) {
    for slot in slots(segment) {
        let claimed = slot.claim_if(clock::now_ms(), |verb| fits(slot, verb, at_poll));
        if let Some(sequence) = claimed {
            return serve(segment, slot, sequence, at_poll);
        }
    }
}

fn serve(segment: &Segment, slot: &'static MailSlot, sequence: u64, at_poll: bool) {
    let command = slot.command(sequence).ok_or((Answer::Malformed, 0));
    let outcome = command.and_then(|command| {
        // Another one may have come into the slot before it was claimed.
        if fits(slot, command.verb, at_poll) {
            carry_out(segment, slot, sequence, &command)
        } else {
            Err((Answer::NotNow, 0))
        }
    });
    let (answer, detail) = match outcome {
        Ok(Some(words)) => {
            for (place, word) in slot.arguments[GIVEN..].iter().zip(words) {
                place.store(word, Ordering::Relaxed);
            }
            (Answer::Done, 0)
        }
        // The answer comes from elsewhere.
        Ok(None) => return,
        Err(why) => why,
    };
    execute::answer(segment, slot, sequence, (answer, detail));
}

/// Three words, or nothing yet.
type Given = Result<Option<[u64; 3]>, (Answer, u64)>;

fn carry_out(
    segment: &Segment,
    slot: &'static MailSlot,
    sequence: u64,
    command: &Command,
) -> Given {
    if segment.header().mode.load(Ordering::Relaxed) == mode::OFF {
        return Err((Answer::NotNow, 0));
    }
    let [number, generation, keep_bytes, ..] = command.arguments;
    match command.verb {
        Verb::TrimHeap => timed(allocators::code().into(), trim),
        Verb::ReleaseSqlite => timed(0, || sqlite::release().ok_or((Answer::Protected, 0))),
        Verb::CollectPython => python::ask(slot, sequence).map(|()| None),
        Verb::ShrinkCache => caches::shrink(segment, number, generation, keep_bytes).map(Some),
        _ => Err((Answer::NotNow, 0)),
    }
}

fn trim() -> Result<u64, (Answer, u64)> {
    match allocators::give_back() {
        None => Err((Answer::Protected, 0)),
        Some(Err(error)) => Err((Answer::Failed, error.unsigned_abs().into())),
        Some(Ok(gave)) => Ok(gave),
    }
}

/// The first word, how long `work` took in ns, what it gave.
fn timed(first: u64, work: impl FnOnce() -> Result<u64, (Answer, u64)>) -> Given {
    let begun_ns = clock::fine_ns();
    let gave = work()?;
    Ok(Some([
        first,
        clock::fine_ns().saturating_sub(begun_ns),
        gave,
    ]))
}
