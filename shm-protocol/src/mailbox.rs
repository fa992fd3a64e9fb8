//! Commands from outside.
//!
//! The state word says whose turn it is; its sequence number keeps an old
//! answer from passing for a new one.
//!
//! | phase | who writes it | next |
//! |---|---|---|
//! | Free | outside, who then owns every other word | Ready |
//! | Ready | outside, last of all words | Running or Expired, by one swap inside |
//! | Running | inside: the one thread that won the swap | Done, by that thread |
//! | Done, Expired | inside | Free, once outside has read the answer |
//!
//! Outside writes by pwrite(2), under a lock on the segment's file, and cannot
//! swap. So it never takes back a Ready slot before the command has expired
//! (inside no longer starts it then), writes Free before it touches the other
//! words, and leaves a Running slot alone for good: its thread may have been
//! cancelled, and one slot of sixteen is a small price. What comes in is checked
//! as if a stranger had written it.

use crate::codes::numbered;
use crate::sync::{AtomicU64, Ordering};

/// Commands that can wait at once.
pub const SLOTS: usize = 16;
/// Arguments of a command.
pub const ARGUMENTS: usize = 10;

/// One command and its answer.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct MailSlot {
    /// Both: phase (8 bits) over sequence number (56).
    pub state: AtomicU64,
    /// Outside: what to do, verb (16 bits) over flags (48).
    pub verb: AtomicU64,
    /// Outside: the last moment at which anybody wants it, ms since the segment
    /// was made.
    pub expires_ms: AtomicU64,
    /// Outside: arguments, meaning by verb ([`Verb`]). Inside: what a verb gives
    /// back besides its result, behind the arguments that it takes.
    pub arguments: [AtomicU64; ARGUMENTS],
    /// Inside: code (16 bits) over detail (48).
    pub result: AtomicU64,
    /// Inside: when it was done, ms since the segment was made.
    pub done_ms: AtomicU64,
    /// Outside: [`check`] over the command, so that a torn one is none.
    pub check: AtomicU64,
}

numbered! {
    /// Where a slot stands.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Phase: u8 {
        /// Nobody uses it.
        Free = 0,
        /// Outside: a whole command waits.
        Ready = 1,
        /// Inside: one thread is at it.
        Running = 2,
        /// Inside: the result is there.
        Done = 3,
        /// Inside: found too late, and not begun.
        Expired = 4,
    }
}

numbered! {
    /// What a command asks for, and its arguments from the first one on.
    ///
    /// A descriptor is named by number, generation and origin word of its row,
    /// then device and inode; a timer by the kernel's number and the origin word
    /// of its row. So a command that comes late finds another row, and does
    /// nothing.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Verb: u16 {
        /// Close a descriptor that the program has lost.
        CloseLost = 1,
        /// Stop a POSIX timer. Gives back what it was set to: [`OLD_TIMER`].
        DisarmTimer = 2,
        /// Set a stopped POSIX timer to the four words at [`NEW_TIMER`].
        RestoreTimer = 3,
        /// A socket is about to be hung up from outside: from now on the library
        /// answers writes to it with EPIPE, and no SIGPIPE comes of them.
        ExpectHangUp = 4,
        /// Notice the next use of a regular file.
        MarkToRetire = 5,
        /// Take a marked file that was not used since from its number, and park it.
        Retire = 6,
        /// Put a parked file back. `Changed` when the program had used it.
        GiveBack = 7,
        /// Close a parked file for good. `Changed` when the program had used it: it
        /// has it back then.
        EndRetired = 8,
        /// Tell what a POSIX timer is set to: [`OLD_TIMER`].
        AskTimer = 9,
        /// Have the allocator give back what is free. Gives back its code, how
        /// long it took in ns, and whether it gave anything: [`GIVEN`].
        TrimHeap = 16,
        /// Have sqlite let go of pages that it can read again. Gives back 0, how
        /// long it took in ns, and the bytes.
        ReleaseSqlite = 17,
        /// Ask CPython to collect garbage, at a place of its own choosing. Gives
        /// back 0, how long it took in ns, and the objects.
        CollectPython = 18,
        /// Ask a registered cache to shrink: its number and its generation, and
        /// how many bytes it may keep. Gives back its size before, how long it
        /// took in ns, and its size after.
        ShrinkCache = 19,
    }
}

/// Where a command may be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At any hook: raw system calls only.
    Anywhere,
    /// Where the program waits of itself, since it takes locks.
    Quiet,
}

impl Verb {
    /// Where it may be carried out. A cache's callbacks have a say of their own.
    pub fn place(self) -> Place {
        match self {
            Verb::TrimHeap | Verb::ReleaseSqlite | Verb::CollectPython | Verb::ShrinkCache => {
                Place::Quiet
            }
            _ => Place::Anywhere,
        }
    }
}

/// Bits of the header's `mail`: who is to look at the slots. Outside sets all.
pub mod mail {
    /// Any hook that reads the clock.
    pub const ANYWHERE: u64 = 1 << 0;
    /// A hook of a call that waits, at a quiet moment.
    pub const QUIET: u64 = 1 << 1;
    /// The program itself, by `memguard_poll`.
    pub const POLL: u64 = 1 << 2;
    /// All of them.
    pub const ALL: u64 = ANYWHERE | QUIET | POLL;
}

numbered! {
    /// What came of a command: the code of a result.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Answer: u16 {
        /// It was done.
        Done = 1,
        /// It made no sense.
        Malformed = 2,
        /// No such row any more, or one of a later holder.
        Gone = 3,
        /// The kernel shows another object there.
        OtherObject = 4,
        /// It is of a sort that is not to be touched from here.
        Protected = 5,
        /// The program has changed it since.
        Changed = 6,
        /// Nothing is recorded now, so nothing is known for certain.
        NotNow = 7,
        /// The kernel refused; the detail is its error number.
        Failed = 8,
    }
}

/// Where [`Verb::DisarmTimer`] and [`Verb::AskTimer`] leave interval and value, each in seconds and
/// nanoseconds.
pub const OLD_TIMER: usize = 2;
/// Where [`Verb::RestoreTimer`] finds the same.
pub const NEW_TIMER: usize = 2;
/// Where verbs that give memory back leave three words.
pub const GIVEN: usize = 4;

/// A command as it is read from a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Command {
    pub verb: Verb,
    pub arguments: [u64; ARGUMENTS],
}

/// What binds a command's words together. It keeps out what is torn, cut off
/// or random; whoever may write a segment may also make a check.
pub fn check(sequence: u64, verb: u64, expires_ms: u64, arguments: &[u64; ARGUMENTS]) -> u64 {
    let words = [sequence & SEQUENCE_MASK, verb, expires_ms];
    let all = words.iter().chain(arguments);
    all.fold(0x6d61_696c, |sum: u64, word| {
        (sum ^ word)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29)
    })
}

/// A result: code over detail.
pub fn pack_result(answer: Answer, detail: u64) -> u64 {
    (answer as u64) << 48 | detail & ((1 << 48) - 1)
}

/// Code and detail of a result; an unknown code gives nothing.
pub fn unpack_result(word: u64) -> Option<(Answer, u64)> {
    let answer = Answer::from_number((word >> 48) as u16)?;
    Some((answer, word & ((1 << 48) - 1)))
}

/// Phase and sequence number of a state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MailState {
    pub phase: Phase,
    pub sequence: u64,
}

const SEQUENCE_MASK: u64 = (1 << 56) - 1;

impl MailState {
    /// Packs.
    pub fn pack(self) -> u64 {
        (self.phase as u64) << 56 | self.sequence & SEQUENCE_MASK
    }

    /// Unpacks; an unknown phase gives nothing.
    pub fn unpack(word: u64) -> Option<MailState> {
        let phase = Phase::from_number((word >> 56) as u8)?;
        Some(MailState {
            phase,
            sequence: word & SEQUENCE_MASK,
        })
    }
}

impl MailSlot {
    /// Inside: takes a ready command, or marks it expired. One thread gets it.
    pub fn claim(&self, now_ms: u64) -> Option<u64> {
        self.claim_if(now_ms, |_| true)
    }

    /// Inside: the verb of a command that waits, if it is known.
    pub fn waiting(&self) -> Option<Verb> {
        let state = MailState::unpack(self.state.load(Ordering::Acquire))?;
        let waits = state.phase == Phase::Ready;
        waits.then(|| self.known_verb()).flatten()
    }

    /// Flags are none so far.
    fn known_verb(&self) -> Option<Verb> {
        let verb = self.verb.load(Ordering::Relaxed);
        let mut known = Verb::ALL.into_iter();
        known.find(|known| (*known as u64) << 48 == verb)
    }

    /// Inside: the same for verbs that fit this place; unknown ones always do.
    /// What is late is marked expired wherever it belongs. Ask the command that
    /// is read then for its place again: another may have come meanwhile.
    pub fn claim_if(&self, now_ms: u64, fits: impl Fn(Verb) -> bool) -> Option<u64> {
        let word = self.state.load(Ordering::Acquire);
        let state = MailState::unpack(word)?;
        if state.phase != Phase::Ready {
            return None;
        }
        // Acquire: who reads the next command's deadline sees the Free before it.
        let late = now_ms > self.expires_ms.load(Ordering::Acquire);
        if !late && !self.known_verb().is_none_or(fits) {
            return None;
        }
        let phase = if late { Phase::Expired } else { Phase::Running };
        let next = MailState { phase, ..state }.pack();
        let won = self
            .state
            .compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed);
        (won.is_ok() && !late).then_some(state.sequence)
    }

    /// Inside: the command that this thread claimed, if its words belong
    /// together and its verb is known.
    pub fn command(&self, sequence: u64) -> Option<Command> {
        let verb = self.verb.load(Ordering::Relaxed);
        let expires_ms = self.expires_ms.load(Ordering::Relaxed);
        let arguments = core::array::from_fn(|i| self.arguments[i].load(Ordering::Relaxed));
        let whole =
            self.check.load(Ordering::Relaxed) == check(sequence, verb, expires_ms, &arguments);
        self.known_verb()
            .filter(|_| whole)
            .map(|verb| Command { verb, arguments })
    }

    /// Inside: answers a command that this thread claimed.
    pub fn finish(&self, sequence: u64, result: u64, now_ms: u64) {
        self.result.store(result, Ordering::Relaxed);
        self.done_ms.store(now_ms, Ordering::Relaxed);
        let running = MailState {
            phase: Phase::Running,
            sequence,
        }
        .pack();
        let done = MailState {
            phase: Phase::Done,
            sequence,
        }
        .pack();
        let _ = self
            .state
            .compare_exchange(running, done, Ordering::Release, Ordering::Relaxed);
    }
}

impl Default for MailSlot {
    fn default() -> Self {
        let word = || AtomicU64::new(0);
        MailSlot {
            state: word(),
            verb: word(),
            expires_ms: word(),
            arguments: [(); ARGUMENTS].map(|()| word()),
            result: word(),
            done_ms: word(),
            check: word(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ready(sequence: u64, expires_ms: u64) -> MailSlot {
        let slot = MailSlot::default();
        slot.expires_ms.store(expires_ms, Ordering::Relaxed);
        slot.state.store(
            MailState {
                phase: Phase::Ready,
                sequence,
            }
            .pack(),
            Ordering::Relaxed,
        );
        slot
    }

    #[test]
    fn a_command_runs_once() {
        let slot = ready(7, 100);
        assert_eq!(slot.claim(50), Some(7));
        assert_eq!(slot.claim(50), None);
        slot.finish(7, 3, 51);
        let state = MailState::unpack(slot.state.load(Ordering::Relaxed)).unwrap();
        assert_eq!(
            (state.phase, slot.result.load(Ordering::Relaxed)),
            (Phase::Done, 3)
        );
    }

    #[test]
    fn the_last_moment_still_counts() {
        assert_eq!(ready(7, 100).claim(100), Some(7));
        assert_eq!(ready(7, u64::MAX).claim(u64::MAX), Some(7));
    }

    #[test]
    fn only_ready_commands_are_claimed() {
        for phase in Phase::ALL {
            let slot = ready(7, 100);
            slot.state
                .store(MailState { phase, sequence: 7 }.pack(), Ordering::Relaxed);
            assert_eq!(slot.claim(50).is_some(), phase == Phase::Ready, "{phase:?}");
        }
    }

    #[test]
    fn a_late_command_expires() {
        let slot = ready(7, 100);
        assert_eq!(slot.claim(101), None);
        let state = MailState::unpack(slot.state.load(Ordering::Relaxed)).unwrap();
        assert_eq!(state.phase, Phase::Expired);
    }

    #[test]
    fn a_command_waits_for_its_place_and_expires_anywhere() {
        let slot = command((Verb::TrimHeap as u64) << 48);
        let anywhere = |verb: Verb| verb.place() == Place::Anywhere;
        assert_eq!(slot.waiting(), Some(Verb::TrimHeap));
        assert_eq!(slot.claim_if(50, anywhere), None);
        assert_eq!(slot.waiting(), Some(Verb::TrimHeap));
        assert_eq!(slot.claim_if(101, anywhere), None);
        let state = MailState::unpack(slot.state.load(Ordering::Relaxed)).unwrap();
        assert_eq!((state.phase, slot.waiting()), (Phase::Expired, None));
        let slot = command((Verb::TrimHeap as u64) << 48);
        assert_eq!(slot.claim_if(50, |verb| !anywhere(verb)), Some(7));
    }

    #[test]
    fn an_old_answer_is_not_a_new_one() {
        let slot = ready(8, 100);
        assert_eq!(slot.claim(1), Some(8));
        slot.finish(7, 3, 51);
        let state = MailState::unpack(slot.state.load(Ordering::Relaxed)).unwrap();
        assert_eq!(state.phase, Phase::Running);
    }

    #[test]
    fn nonsense_is_not_claimed() {
        for phase in 5..=255u64 {
            let slot = MailSlot::default();
            slot.state.store(phase << 56, Ordering::Relaxed);
            assert_eq!(slot.claim(0), None);
        }
    }

    fn command(verb: u64) -> MailSlot {
        let slot = ready(7, 100);
        slot.verb.store(verb, Ordering::Relaxed);
        slot.arguments[3].store(9, Ordering::Relaxed);
        let arguments = core::array::from_fn(|i| slot.arguments[i].load(Ordering::Relaxed));
        slot.check
            .store(check(7, verb, 100, &arguments), Ordering::Relaxed);
        slot
    }

    #[test]
    fn a_whole_command_is_read() {
        let slot = command((Verb::DisarmTimer as u64) << 48);
        let read = slot.command(7).unwrap();
        assert_eq!((read.verb, read.arguments[3]), (Verb::DisarmTimer, 9));
    }

    #[test]
    fn what_is_torn_replayed_or_unknown_is_no_command() {
        let whole = (Verb::CloseLost as u64) << 48;
        assert_eq!(command(whole).command(8), None);
        assert_eq!(command(whole | 1).command(7), None);
        assert_eq!(command(0).command(7), None);
        assert_eq!(command(999 << 48).command(7), None);
        let torn = command(whole);
        torn.arguments[9].store(1, Ordering::Relaxed);
        assert_eq!(torn.command(7), None);
    }

    #[test]
    fn results_survive() {
        for answer in Answer::ALL {
            assert_eq!(unpack_result(pack_result(answer, 11)), Some((answer, 11)));
        }
        assert_eq!(unpack_result(0), None);
    }

    proptest! {
        #[test]
        fn states_survive(phase in 0usize..5, sequence: u64) {
            let phase = Phase::ALL[phase];
            let state = MailState { phase, sequence }.pack();
            // A sequence number is cut to its bits and never spoils the phase.
            let expected = MailState { phase, sequence: sequence & SEQUENCE_MASK };
            prop_assert_eq!(MailState::unpack(state), Some(expected));
        }

        #[test]
        fn any_word_is_a_state_or_none(word: u64) {
            prop_assert_eq!(MailState::unpack(word).map(MailState::pack), (word >> 56 < 5).then_some(word));
        }
    }
}
