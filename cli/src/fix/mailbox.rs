//! Leaves commands in a target's mailbox and waits for its answers
//! (`shm_protocol::mailbox` has the rules of the slots).
//!
//! The lock on the segment's file is held from the first word written to the
//! last one read, so commands of two callers never share the slots; it ends
//! with its holder. What a caller that died has left is taken once its time is
//! over, and a slot that a thread of the target is at is left alone.

use std::io;
use std::mem::{offset_of, size_of};
use std::time::{Duration, Instant};

use shm_protocol::codes::Section;
use shm_protocol::layout::Header;
use shm_protocol::mailbox::{
    ARGUMENTS, Answer, MailSlot, MailState, Phase, Verb, check, mail, unpack_result,
};
use shm_protocol::view::HeaderInfo;

use crate::attach::write::Writer;
use crate::attach::{LiveSegment, Running};
use crate::kernel::ClocksAhead;
use crate::snapshot::take::moment_of;

/// Libraries whose layout is older run no commands.
const SINCE_MINOR: u32 = 2;
/// Those older than this give no memory back.
pub const GIVES_BACK_SINCE_MINOR: u32 = 4;
/// Between two looks at the answers: at first, for targets that are busy,
const FIRST_BEAT: Duration = Duration::from_micros(50);
/// and at last.
const BEAT: Duration = Duration::from_millis(2);
/// The target's clock has steps: a command is over for it so much later.
const STEP: Duration = Duration::from_millis(50);

/// One command.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// What to do
    pub verb: Verb,
    /// With what
    pub arguments: [u64; ARGUMENTS],
}

/// What came of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The target has answered
    Answered {
        /// How
        answer: Answer,
        /// The error's number, if it failed
        detail: u64,
        /// With what it gives back
        arguments: [u64; ARGUMENTS],
    },
    /// The target came by no hook in time: it was not begun
    Pending,
    /// It was begun, and had not come to its end in time
    Unfinished {
        /// How long it had been seen at work
        for_ms: u64,
    },
    /// The target ended
    Ended,
}

/// The mailbox of a target.
#[derive(Debug)]
pub struct Mailbox {
    writer: Writer,
    process: Running,
    header: HeaderInfo,
    offset: usize,
    slots: usize,
}

/// A command under way: its place among the orders, its slot and state word.
struct Posted {
    order: usize,
    slot: usize,
    ready: u64,
    /// When it was first seen to be carried out
    begun: Option<Instant>,
}

impl Mailbox {
    /// Opens it; none when the library is one that runs no commands.
    ///
    /// # Errors
    /// When the segment may not be written.
    pub fn open(process: &Running, found: &LiveSegment) -> io::Result<Option<Self>> {
        let view = found.segment.view("The record");
        let view = view.map_err(io::Error::other)?;
        let header = view.header();
        let mut extents = view.extents().iter();
        let extent = extents.find(|extent| extent.section == Section::Mailbox);
        let Some(extent) = extent.filter(|extent| {
            header.abi_minor >= SINCE_MINOR && extent.row_bytes == size_of::<MailSlot>()
        }) else {
            return Ok(None);
        };
        Ok(Some(Self {
            writer: Writer::open(process, found)?,
            process: process.clone(),
            offset: extent.offset,
            slots: extent.rows,
            header,
        }))
    }

    /// Leaves these commands and waits for their answers, for so long at most.
    ///
    /// # Errors
    /// When the segment cannot be read or written.
    pub fn post(&self, orders: &[Order], patience: Duration) -> io::Result<Vec<Reply>> {
        let until = Instant::now() + patience;
        let mut replies = vec![Reply::Pending; orders.len()];
        if !self.lock(until)? {
            return Ok(replies);
        }
        let done = self.post_locked(orders, until, &mut replies);
        self.writer.unlock()?;
        done.map(|()| replies)
    }

    fn lock(&self, until: Instant) -> io::Result<bool> {
        while !self.writer.try_lock()? {
            if Instant::now() >= until {
                return Ok(false);
            }
            std::thread::sleep(BEAT);
        }
        Ok(true)
    }

    fn post_locked(
        &self,
        orders: &[Order],
        until: Instant,
        replies: &mut [Reply],
    ) -> io::Result<()> {
        let mut next = 0;
        while next < orders.len() && Instant::now() < until {
            let posted = self.put_some(orders, next, until)?;
            if posted.is_empty() {
                std::thread::sleep(BEAT);
                continue;
            }
            next += posted.len();
            let all_answered = self.wait(posted, until, replies)?;
            if !all_answered {
                break;
            }
        }
        Ok(())
    }

    /// Fills the free slots.
    fn put_some(&self, orders: &[Order], from: usize, until: Instant) -> io::Result<Vec<Posted>> {
        let mut posted = Vec::new();
        let left = until.saturating_duration_since(Instant::now());
        let expires_ms =
            moment_of(&self.header, ClocksAhead::of(self.process.pid)) + left.as_millis() as u64;
        for slot in 0..self.slots {
            let order = from + posted.len();
            if order == orders.len() {
                break;
            }
            if let Some(sequence) = self.free(slot)? {
                let ready = self.put(slot, sequence, &orders[order], expires_ms)?;
                posted.push(Posted {
                    order,
                    slot,
                    ready,
                    begun: None,
                });
            }
        }
        if !posted.is_empty() {
            self.ring()?;
        }
        Ok(posted)
    }

    fn ring(&self) -> io::Result<()> {
        self.writer.put(offset_of!(Header, mail), mail::ALL)
    }

    /// The next sequence number of a slot that may be written.
    fn free(&self, slot: usize) -> io::Result<Option<u64>> {
        let state = MailState::unpack(self.word(slot, offset_of!(MailSlot, state))?);
        let Some(state) = state else {
            return Ok(Some(1));
        };
        let free = match state.phase {
            Phase::Running => false,
            Phase::Ready => self.is_over(self.word(slot, offset_of!(MailSlot, expires_ms))?),
            Phase::Free | Phase::Done | Phase::Expired => true,
        };
        Ok(free.then_some(state.sequence.wrapping_add(1)))
    }

    /// Whether the target is at a command that somebody gave it.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        let state = |slot| MailState::unpack(self.word(slot, offset_of!(MailSlot, state)).ok()?);
        let runs = |slot| state(slot).is_some_and(|state| state.phase == Phase::Running);
        (0..self.slots).any(runs)
    }

    fn is_over(&self, expires_ms: u64) -> bool {
        let now_ms = moment_of(&self.header, ClocksAhead::of(self.process.pid));
        now_ms > expires_ms.saturating_add(STEP.as_millis() as u64)
    }

    /// Writes a command; its state word.
    fn put(&self, slot: usize, sequence: u64, order: &Order, expires_ms: u64) -> io::Result<u64> {
        let state = |phase| MailState { phase, sequence }.pack();
        let verb = (order.verb as u64) << 48;
        let sum = check(sequence, verb, expires_ms, &order.arguments);
        self.put_word(slot, offset_of!(MailSlot, state), state(Phase::Free))?;
        self.put_word(slot, offset_of!(MailSlot, verb), verb)?;
        for (at, word) in order.arguments.iter().enumerate() {
            self.put_word(slot, offset_of!(MailSlot, arguments) + 8 * at, *word)?;
        }
        self.put_word(slot, offset_of!(MailSlot, check), sum)?;
        self.put_word(slot, offset_of!(MailSlot, expires_ms), expires_ms)?;
        self.put_word(slot, offset_of!(MailSlot, state), state(Phase::Ready))?;
        Ok(state(Phase::Ready))
    }

    /// Waits for what was posted. Whether all of it was answered.
    fn wait(
        &self,
        mut posted: Vec<Posted>,
        until: Instant,
        replies: &mut [Reply],
    ) -> io::Result<bool> {
        let all = posted.len();
        let (mut answered, mut beat) = (0, FIRST_BEAT);
        while !posted.is_empty() && Instant::now() < until + 2 * STEP {
            let mut left = Vec::new();
            for mut one in posted {
                match self.answer(&mut one)? {
                    Some(reply) => {
                        answered += usize::from(reply != Reply::Pending);
                        replies[one.order] = reply;
                    }
                    None => left.push(one),
                }
            }
            posted = left;
            if !posted.is_empty() && !self.process.still_runs() {
                posted
                    .iter()
                    .for_each(|one| replies[one.order] = Reply::Ended);
                return Ok(false);
            }
            if !posted.is_empty() {
                std::thread::sleep(beat);
                beat = BEAT.min(beat * 2);
            }
        }
        for (one, since) in posted.iter().filter_map(|one| Some((one, one.begun?))) {
            let for_ms = since.elapsed().as_millis() as u64;
            replies[one.order] = Reply::Unfinished { for_ms };
        }
        // Over: the target begins none of these any more.
        posted.iter().try_for_each(|one| self.withdraw(one))?;
        Ok(answered == all)
    }

    fn answer(&self, one: &mut Posted) -> io::Result<Option<Reply>> {
        let state = MailState::unpack(self.word(one.slot, offset_of!(MailSlot, state))?);
        let sequence = MailState::unpack(one.ready).map(|ready| ready.sequence);
        let Some(state) = state.filter(|state| Some(state.sequence) == sequence) else {
            // Somebody else wrote over it.
            return Ok(Some(Reply::Pending));
        };
        let reply = match state.phase {
            Phase::Ready => return Ok(None),
            Phase::Running => {
                one.begun.get_or_insert_with(Instant::now);
                return Ok(None);
            }
            Phase::Free | Phase::Expired => Reply::Pending,
            Phase::Done => self.reply(one.slot)?,
        };
        self.set_free(one.slot, state.sequence)?;
        Ok(Some(reply))
    }

    fn reply(&self, slot: usize) -> io::Result<Reply> {
        let mut arguments = [0; ARGUMENTS];
        for (at, word) in arguments.iter_mut().enumerate() {
            *word = self.word(slot, offset_of!(MailSlot, arguments) + 8 * at)?;
        }
        let result = unpack_result(self.word(slot, offset_of!(MailSlot, result))?);
        let (answer, detail) = result.unwrap_or((Answer::Malformed, 0));
        Ok(Reply::Answered {
            answer,
            detail,
            arguments,
        })
    }

    fn withdraw(&self, one: &Posted) -> io::Result<()> {
        let now = self.word(one.slot, offset_of!(MailSlot, state))?;
        match MailState::unpack(one.ready).filter(|_| now == one.ready) {
            Some(ready) => self.set_free(one.slot, ready.sequence),
            None => Ok(()),
        }
    }

    fn set_free(&self, slot: usize, sequence: u64) -> io::Result<()> {
        let phase = Phase::Free;
        let free = MailState { phase, sequence }.pack();
        self.put_word(slot, offset_of!(MailSlot, state), free)
    }

    /// A word of the segment beside the mailbox.
    #[must_use]
    pub fn word_at(&self, offset: usize) -> Option<u64> {
        self.writer.get(offset).ok()
    }

    fn word(&self, slot: usize, field: usize) -> io::Result<u64> {
        self.writer.get(self.at(slot, field))
    }

    fn put_word(&self, slot: usize, field: usize, value: u64) -> io::Result<()> {
        self.writer.put(self.at(slot, field), value)
    }

    fn at(&self, slot: usize, field: usize) -> usize {
        self.offset + slot * size_of::<MailSlot>() + field
    }
}
