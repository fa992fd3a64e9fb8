//! The event ring: many writers that never wait, one reader that may be late.
//!
//! Writers take a ticket and write over the oldest event; the reader finds
//! out by the tickets what it missed. The ring is off, at the price of one
//! load, unless a reader's heartbeat in the header is fresh.

use crate::codes::numbered;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::words::check16;

/// Events in the ring (a power of two).
pub const EVENTS: usize = 4096;

/// One event of four words.
#[repr(C)]
#[derive(Debug)]
pub struct RingSlot {
    /// Ticket plus one (48 bits) over a check of the other words (16), stored
    /// last; 0 while they are written.
    pub ticket: AtomicU64,
    /// Time in ms since the segment was made (40 bits), site (24).
    pub origin: AtomicU64,
    /// Action (8 bits), kind (8), size or flags (48).
    pub what: AtomicU64,
    /// Address or descriptor number.
    pub id: AtomicU64,
}

numbered! {
    /// What happened, in `RingSlot::what`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub enum Action: u8 {
        Taken = 1,
        GivenBack = 2,
    }
}

/// An event as the reader gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Event {
    /// Packed `Origin`.
    pub origin: u64,
    /// Packed action, kind and size.
    pub what: u64,
    /// Address or descriptor number.
    pub id: u64,
}

impl Event {
    /// Packs the middle word.
    pub fn what(action: Action, kind: u8, size_bytes: u64) -> u64 {
        (action as u64) << 56 | u64::from(kind) << 48 | size_bytes.min((1 << 48) - 1)
    }
}

/// Appends an event; `head` counts tickets.
///
/// Never waits: a writer that was overtaken by a whole round writes over a
/// newer event, and the check in the ticket then fits neither of the two.
pub fn push(head: &AtomicU64, slots: &[RingSlot], event: Event) {
    let ticket = head.fetch_add(1, Ordering::Relaxed);
    let Some(slot) = slots.get(place(ticket, slots)) else {
        return;
    };
    slot.ticket.store(0, Ordering::Relaxed);
    // The words below must not be seen before the 0 above.
    fence(Ordering::Release);
    slot.origin.store(event.origin, Ordering::Relaxed);
    slot.what.store(event.what, Ordering::Relaxed);
    slot.id.store(event.id, Ordering::Relaxed);
    slot.ticket.store(seal(ticket, event), Ordering::Release);
}

/// Reads the event with this ticket; nothing when it is not there, not yet
/// whole, or written over.
pub fn get(slots: &[RingSlot], ticket: u64) -> Option<Event> {
    let slot = slots.get(place(ticket, slots))?;
    let before = slot.ticket.load(Ordering::Acquire);
    let event = Event {
        origin: slot.origin.load(Ordering::Relaxed),
        what: slot.what.load(Ordering::Relaxed),
        id: slot.id.load(Ordering::Relaxed),
    };
    // The words above must not be read after the ticket below.
    fence(Ordering::Acquire);
    let after = slot.ticket.load(Ordering::Relaxed);
    let whole = before != 0 && before == seal(ticket, event);
    (whole && after == before).then_some(event)
}

/// Index of a ticket's slot; past the end when there are no slots.
fn place(ticket: u64, slots: &[RingSlot]) -> usize {
    ticket as usize & slots.len().wrapping_sub(1)
}

/// The ticket word of a whole event.
fn seal(ticket: u64, event: Event) -> u64 {
    let check = check16(event.id, event.origin, event.what);
    ticket.wrapping_add(1) << 16 | u64::from(check)
}

impl Default for RingSlot {
    fn default() -> Self {
        let [ticket, origin, what, id] = [0; 4].map(AtomicU64::new);
        RingSlot {
            ticket,
            origin,
            what,
            id,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn late_readers_learn_what_they_missed() {
        let head = AtomicU64::new(0);
        let slots: Vec<RingSlot> = (0..4).map(|_| RingSlot::default()).collect();
        for id in 0..6 {
            push(
                &head,
                &slots,
                Event {
                    id,
                    ..Event::default()
                },
            );
        }
        let seen: Vec<_> = (0..7)
            .map(|ticket| get(&slots, ticket).map(|event| event.id))
            .collect();
        assert_eq!(seen, [None, None, Some(2), Some(3), Some(4), Some(5), None]);
    }

    #[test]
    fn an_overtaken_writer_spoils_no_newer_event() {
        let head = AtomicU64::new(0);
        let slots = [RingSlot::default()];
        let event = |id| Event {
            id,
            ..Event::default()
        };
        push(&head, &slots, event(1));
        push(&head, &slots, event(2));
        // What the first writer's last store would do, had it come now.
        slots[0].id.store(1, Ordering::Relaxed);
        assert_eq!(get(&slots, 1), None);
    }

    #[test]
    fn no_slots_and_no_such_ticket_give_nothing() {
        let head = AtomicU64::new(u64::MAX);
        push(&head, &[], Event::default());
        let slots = [RingSlot::default()];
        assert_eq!(get(&[], 0), None);
        assert_eq!(get(&slots, u64::MAX), None);
    }

    #[test]
    fn sizes_are_cut_to_their_bits() {
        let word = Event::what(Action::GivenBack, 0xAB, u64::MAX);
        assert_eq!(word, 0x02AB_FFFF_FFFF_FFFF);
    }
}
