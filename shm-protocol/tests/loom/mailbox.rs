//! Commands: one executor gets each, a late one nobody, a withdrawn one never
//! with its successor's arguments.

use crate::{explore, spawn};
use loom::sync::Arc;
use shm_protocol::mailbox::{MailSlot, MailState, Phase};
use shm_protocol::sync::Ordering;

const EXPIRES_MS: u64 = 100;

fn state(phase: Phase, sequence: u64) -> u64 {
    MailState { phase, sequence }.pack()
}

/// A slot in which command 7 waits, with 70 as its argument.
fn posted() -> MailSlot {
    let slot = MailSlot::default();
    slot.arguments[0].store(70, Ordering::Relaxed);
    slot.expires_ms.store(EXPIRES_MS, Ordering::Relaxed);
    slot.state.store(state(Phase::Ready, 7), Ordering::Release);
    slot
}

/// What an executor does: claims, reads its argument, answers with it.
fn execute(slot: &MailSlot, now_ms: u64) -> Option<(u64, u64)> {
    let sequence = slot.claim(now_ms)?;
    let argument = slot.arguments[0].load(Ordering::Relaxed);
    slot.finish(sequence, argument + 1, now_ms);
    Some((sequence, argument))
}

#[test]
fn one_of_two_executors_gets_the_command() {
    explore(5, || {
        let slot = Arc::new(posted());
        let other = spawn(&slot, |slot| execute(slot, 50));
        let ran = [execute(&slot, 50), other.join().unwrap()];
        let ran: Vec<_> = ran.into_iter().flatten().collect();
        assert_eq!(ran, [(7, 70)]);
        assert_eq!(slot.state.load(Ordering::Acquire), state(Phase::Done, 7));
        assert_eq!(slot.result.load(Ordering::Relaxed), 71);
    });
}

/// Clocks of two threads may stand on both sides of the deadline.
#[test]
fn a_command_runs_or_expires_but_not_both() {
    explore(5, || {
        let slot = Arc::new(posted());
        let late = spawn(&slot, |slot| execute(slot, EXPIRES_MS + 1));
        let ran = execute(&slot, EXPIRES_MS);
        assert_eq!(late.join().unwrap(), None);
        let end = if ran.is_some() {
            Phase::Done
        } else {
            Phase::Expired
        };
        assert_eq!(slot.state.load(Ordering::Acquire), state(end, 7));
    });
}

#[test]
fn who_sees_the_end_sees_the_result() {
    explore(5, || {
        let slot = Arc::new(posted());
        let executor = spawn(&slot, |slot| execute(slot, 50));
        if slot.state.load(Ordering::Acquire) == state(Phase::Done, 7) {
            assert_eq!(slot.result.load(Ordering::Relaxed), 71);
        }
        executor.join().unwrap();
    });
}

/// The command line takes an expired slot for its next command, in the order
/// that the module prescribes.
#[test]
fn a_slot_used_again_never_mixes_two_commands() {
    explore(5, || {
        let slot = Arc::new(posted());
        let poster = spawn(&slot, |slot| {
            slot.state.store(state(Phase::Free, 7), Ordering::Release);
            slot.arguments[0].store(80, Ordering::Relaxed);
            slot.expires_ms.store(EXPIRES_MS * 10, Ordering::Release);
            slot.state.store(state(Phase::Ready, 8), Ordering::Release);
        });
        let ran = execute(&slot, EXPIRES_MS + 1);
        assert!([None, Some((8, 80))].contains(&ran), "{ran:?}");
        poster.join().unwrap();
    });
}
