//! Commands from outside, carried out by whichever thread comes by.
//!
//! A hook that reads the clock anyway tests one word of the header
//! ([`crate::mode::tick`]); when that says mail, it looks at the slots. What is
//! found there is checked as if a stranger had written it: the command's own
//! check, its ranges, the row that it names, the kernel's object under the
//! number. Only then something is done, by raw system calls that do not wait.
//!
//! One thread is at it at a time, for [`SLICE_NS`] at most, its signals
//! blocked: no handler comes in between and none jumps out. Nothing is done in
//! a child that shares this memory, on a thread with descriptors of its own, or
//! under a filter.
//!
//! What is closed here is claimed first ([`shm_protocol::fds::FdRow::claim`]):
//! of two that close a number at once, one makes the call (I5).

use crate::guard::undisturbed;
use crate::hooks::timers;
use crate::page::PAGE;
use crate::retire::{self, Wish};
use crate::segment::Segment;
use crate::{clock, descriptors, live, mode, plain, sys, things, traps};
use core::sync::atomic::Ordering;
use shm_protocol::codes::{Counter, Kind, Section, fd_flag, note, thing_flag};
use shm_protocol::fds::{FdInfo, FdRow};
use shm_protocol::mailbox::{
    self, Answer, Command, MailSlot, NEW_TIMER, OLD_TIMER, Place, SLOTS, Verb, mail, pack_result,
};

/// After so long a slice ends; what is left waits for the next hook.
const SLICE_NS: u64 = 200_000;
/// Rows with such a flag are used or shared in ways that no row shows.
const UNTOUCHABLE: u8 = fd_flag::STDIO | fd_flag::PLACED | fd_flag::SENT | fd_flag::MAPPED;
/// Device numbers of /dev/null and its kin: their close does not wait.
const MEMORY_DEVICES: u32 = 1;
/// File systems whose close may wait for somebody else (linux/magic.h).
const DISTANT: [i64; 10] = [
    0x6969,      // NFS
    0x6573_5546, // FUSE
    0xFF53_4D42, // CIFS
    0xFE53_4D42, // SMB2
    0x517B,      // SMB
    0x0102_1997, // 9P
    0x00C3_6400, // Ceph
    0x5346_414F, // AFS
    0x6B41_4653, // AFS, the kernel's
    0x7375_7245, // Coda
];

/// What came of a command, with a detail.
type Outcome = Result<(), (Answer, u64)>;

/// Mail waits: serves what there is, if this thread may.
#[cold]
#[inline(never)]
pub fn look(segment: &Segment) {
    let may = !live::frozen() && descriptors::ours();
    if !may || sys::getpid() != segment.header().pid.load(Ordering::Relaxed) {
        return;
    }
    undisturbed(|| {
        let executing = &PAGE.executing;
        if executing.swap(1, Ordering::Acquire) == 0 {
            slice(segment);
            executing.store(0, Ordering::Release);
        }
    });
}

fn slice(segment: &Segment) {
    let mail = &segment.header().mail;
    // Before the slots: what comes in later sets it again.
    mail.fetch_and(!mail::ANYWHERE, Ordering::AcqRel);
    let slots = segment.in_run::<MailSlot>(Section::Mailbox, 0, 0, SLOTS, false);
    let begun_ns = clock::fine_ns();
    for slot in slots.unwrap_or_default() {
        if clock::fine_ns().saturating_sub(begun_ns) > SLICE_NS {
            mail.fetch_or(mail::ANYWHERE, Ordering::Release);
            return;
        }
        serve(segment, slot);
        if slot.waiting().is_some() {
            // It takes locks: another kind of hook looks at it.
            mail.fetch_or(mail::QUIET | mail::POLL, Ordering::Release);
        }
    }
}

fn serve(segment: &Segment, slot: &MailSlot) {
    let now_ms = clock::now_ms();
    let here = |verb: Verb| verb.place() == Place::Anywhere;
    let Some(sequence) = slot.claim_if(now_ms, here) else {
        return;
    };
    let outcome = match slot.command(sequence) {
        Some(command) => carry_out(segment, slot, &command),
        None => Err((Answer::Malformed, 0)),
    };
    answer(
        segment,
        slot,
        sequence,
        outcome.err().unwrap_or((Answer::Done, 0)),
    );
}

/// Answers a command that this thread claimed.
pub fn answer(segment: &Segment, slot: &MailSlot, sequence: u64, what: (Answer, u64)) {
    if what.0 == Answer::Malformed {
        segment.count(Counter::BadCommands, 1);
    }
    slot.finish(sequence, pack_result(what.0, what.1), clock::now_ms());
}

fn carry_out(segment: &Segment, slot: &MailSlot, command: &Command) -> Outcome {
    if segment.header().mode.load(Ordering::Relaxed) == mode::OFF {
        return Err((Answer::NotNow, 0));
    }
    match command.verb {
        Verb::CloseLost => close_lost(segment, &command.arguments),
        Verb::DisarmTimer => disarm(segment, slot, &command.arguments),
        Verb::RestoreTimer => restore(segment, &command.arguments),
        Verb::ExpectHangUp => expect_hang_up(segment, &command.arguments),
        Verb::MarkToRetire => mark_to_retire(segment, &command.arguments),
        Verb::Retire => retired(segment, &command.arguments, |fd, object| {
            Some(retire::retire(fd, object))
        }),
        Verb::GiveBack => retired(segment, &command.arguments, |fd, _| retire::restore(fd)),
        Verb::EndRetired => retired(segment, &command.arguments, |fd, _| retire::end(fd)),
        Verb::AskTimer => ask(segment, slot, &command.arguments),
        // Another one came into the slot before it was claimed.
        _ => Err((Answer::NotNow, 0)),
    }
}

/// A number that the kernel takes; all of them are ints.
fn number(argument: u64) -> Result<u32, (Answer, u64)> {
    let fits = i32::try_from(argument);
    fits.map(|number| number as u32)
        .map_err(|_| (Answer::Malformed, 0))
}

fn refused(answer: Answer) -> (Answer, u64) {
    (answer, 0)
}

fn failed(status: isize) -> (Answer, u64) {
    (Answer::Failed, status.unsigned_abs() as u64)
}

/// A number, its row, and what that holds, if it is the very row that a
/// command names.
fn named(
    segment: &Segment,
    arguments: &[u64; mailbox::ARGUMENTS],
) -> Result<(u32, &'static FdRow, FdInfo), (Answer, u64)> {
    let [fd, generation, origin, ..] = *arguments;
    let fd = number(fd)?;
    let row = descriptors::known_row(segment, fd).ok_or(refused(Answer::Gone))?;
    let info = row
        .read(fd)
        .filter(|info| u64::from(info.generation) == generation && info.origin.pack() == origin);
    let info = info.ok_or(refused(Answer::Gone))?;
    Ok((fd, row, info))
}

fn close_lost(segment: &Segment, arguments: &[u64; mailbox::ARGUMENTS]) -> Outcome {
    let (fd, row, info) = named(segment, arguments)?;
    let [_, _, _, device, inode, ..] = *arguments;
    if is_protected(segment, fd, &info) {
        return Err(refused(Answer::Protected));
    }
    check_object(fd, device, inode)?;
    if !row.claim(fd, &info) {
        return Err(refused(Answer::Gone));
    }
    // Now no hook lets anybody else close it.
    if let Err(why) = check_object(fd, device, inode) {
        row.unclaim(fd, &info);
        return Err(why);
    }
    close_claimed(segment, row, fd, &info)
}

fn close_claimed(segment: &Segment, row: &FdRow, fd: u32, info: &FdInfo) -> Outcome {
    // I7: the number may be given out again before the call returns.
    descriptors::count_end(segment, fd, info);
    let status = sys::close_number(fd);
    row.release(info);
    // Linux lets go of the number even when it reports an error.
    if status == -(libc::EBADF as isize) {
        return Err(failed(status));
    }
    Ok(())
}

/// Where a write by another number, by a stream or from elsewhere would go
/// past the trap, nothing is promised.
fn expect_hang_up(segment: &Segment, arguments: &[u64; mailbox::ARGUMENTS]) -> Outcome {
    let (fd, row, info) = named(segment, arguments)?;
    let object = (arguments[3], arguments[4]);
    let made_here = [Kind::Socket as u8, Kind::Accepted as u8].contains(&info.kind);
    let copied = info.flags & fd_flag::DUPLICATED != 0;
    if is_protected(segment, fd, &info) || !made_here || copied {
        return Err(refused(Answer::Protected));
    }
    let stat = sys::stat_of(fd).map_err(|_| refused(Answer::Gone))?;
    if (stat.st_dev, stat.st_ino) != object || stat.st_mode & libc::S_IFMT != libc::S_IFSOCK {
        return Err(refused(Answer::OtherObject));
    }
    traps::expect_hang_up(fd, object).ok_or((Answer::Failed, libc::ENOMEM as u64))?;
    // A duplicate made meanwhile has no trap, a next holder needs none.
    if row.read(fd) == Some(info) {
        Ok(())
    } else {
        traps::forget(fd);
        Err(refused(Answer::Gone))
    }
}

/// Only regular files that every use of goes by a hook.
fn mark_to_retire(segment: &Segment, arguments: &[u64; mailbox::ARGUMENTS]) -> Outcome {
    let (fd, row, info) = named(segment, arguments)?;
    let object = (arguments[3], arguments[4]);
    let copied = info.flags & fd_flag::DUPLICATED != 0;
    if is_protected(segment, fd, &info) || info.kind != Kind::File as u8 || copied {
        return Err(refused(Answer::Protected));
    }
    check_object(fd, object.0, object.1)?;
    let stat = sys::stat_of(fd).map_err(|_| refused(Answer::Gone))?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG || sys::is_place_only(fd) {
        return Err(refused(Answer::Protected));
    }
    wished(retire::mark(fd, object))?;
    if row.read(fd) == Some(info) {
        Ok(())
    } else {
        traps::forget(fd);
        Err(refused(Answer::Gone))
    }
}

/// The steps after the mark, for the same row.
fn retired(
    segment: &Segment,
    arguments: &[u64; mailbox::ARGUMENTS],
    step: impl FnOnce(u32, (u64, u64)) -> Option<Wish>,
) -> Outcome {
    let (fd, _, _) = named(segment, arguments)?;
    let wish = step(fd, (arguments[3], arguments[4]));
    wished(wish.ok_or(refused(Answer::Gone))?)
}

fn wished(wish: Wish) -> Outcome {
    match wish {
        Wish::Done => Ok(()),
        Wish::Used => Err(refused(Answer::Changed)),
        Wish::Other => Err(refused(Answer::OtherObject)),
        Wish::Failed(status) => Err(failed(status)),
    }
}

fn is_protected(segment: &Segment, fd: u32, info: &FdInfo) -> bool {
    let unseen = segment.header().notes.load(Ordering::Relaxed) & note::IO_URING != 0;
    let kept = info.flags & UNTOUCHABLE != 0 || info.kind == Kind::Inherited as u8;
    fd <= 2 || kept || unseen
}

/// Whether the kernel shows that object there, one whose close does not wait.
fn check_object(fd: u32, device: u64, inode: u64) -> Outcome {
    let stat = sys::stat_of(fd).map_err(|_| refused(Answer::Gone))?;
    if (stat.st_dev, stat.st_ino) != (device, inode) {
        return Err(refused(Answer::OtherObject));
    }
    let waits = match stat.st_mode & libc::S_IFMT {
        libc::S_IFCHR => libc::major(stat.st_rdev) != MEMORY_DEVICES,
        libc::S_IFBLK => true,
        libc::S_IFSOCK => sys::lingers(fd),
        _ => sys::file_system_of(fd).is_none_or(|magic| DISTANT.contains(&magic)),
    };
    if waits {
        Err(refused(Answer::Protected))
    } else {
        Ok(())
    }
}

/// The row's number of a timer that a command names.
fn timer(segment: &Segment, number: u64, origin: u64) -> Result<u32, (Answer, u64)> {
    let number = self::number(number)?;
    let row = plain::read(segment, Section::Timers, timers::key(number));
    let same = row.is_some_and(|row| row.origin.pack() == origin);
    if same {
        Ok(number)
    } else {
        Err(refused(Answer::Gone))
    }
}

fn words_of(setting: &libc::itimerspec) -> [u64; 4] {
    let (interval, value) = (&setting.it_interval, &setting.it_value);
    [
        interval.tv_sec as u64,
        interval.tv_nsec as u64,
        value.tv_sec as u64,
        value.tv_nsec as u64,
    ]
}

/// A setting that the kernel takes.
fn setting_of(words: &[u64]) -> Option<libc::itimerspec> {
    let time = |seconds: u64, ns: u64| {
        Some(libc::timespec {
            tv_sec: i64::try_from(seconds).ok()?,
            tv_nsec: i64::try_from(ns).ok().filter(|ns| *ns < 1_000_000_000)?,
        })
    };
    let [interval_s, interval_ns, value_s, value_ns] = *words else {
        return None;
    };
    Some(libc::itimerspec {
        it_interval: time(interval_s, interval_ns)?,
        it_value: time(value_s, value_ns)?,
    })
}

fn disarm(segment: &Segment, slot: &MailSlot, arguments: &[u64; mailbox::ARGUMENTS]) -> Outcome {
    let number = timer(segment, arguments[0], arguments[1])?;
    // SAFETY: all-zero is a valid itimerspec: off.
    let off: libc::itimerspec = unsafe { core::mem::zeroed() };
    let old = sys::set_timer(number, &off).map_err(failed)?;
    give_back(slot, &old);
    things::changed(Kind::PosixTimer, timers::key(number), |flags| {
        flags & !thing_flag::ARMED
    });
    Ok(())
}

fn give_back(slot: &MailSlot, setting: &libc::itimerspec) {
    for (place, word) in slot.arguments[OLD_TIMER..].iter().zip(words_of(setting)) {
        place.store(word, Ordering::Relaxed);
    }
}

fn ask(segment: &Segment, slot: &MailSlot, arguments: &[u64; mailbox::ARGUMENTS]) -> Outcome {
    let number = timer(segment, arguments[0], arguments[1])?;
    let now = sys::timer_setting(number).map_err(failed)?;
    give_back(slot, &now);
    Ok(())
}

fn restore(segment: &Segment, arguments: &[u64; mailbox::ARGUMENTS]) -> Outcome {
    let number = timer(segment, arguments[0], arguments[1])?;
    let to = setting_of(&arguments[NEW_TIMER..NEW_TIMER + 4]);
    let to = to.ok_or(refused(Answer::Malformed))?;
    let now = sys::timer_setting(number).map_err(failed)?;
    if words_of(&now)[2..] != [0, 0] {
        return Err(refused(Answer::Changed));
    }
    sys::set_timer(number, &to).map_err(failed)?;
    things::changed(Kind::PosixTimer, timers::key(number), |flags| {
        flags | thing_flag::ARMED
    });
    Ok(())
}
