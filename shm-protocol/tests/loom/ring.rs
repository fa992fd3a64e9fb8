//! The event ring: a late reader gets whole events or learns that it is late.

use crate::{explore, spawn};
use loom::sync::Arc;
use shm_protocol::ring::{Event, RingSlot, get, push};
use shm_protocol::sync::AtomicU64;
use shm_protocol::words::check16;

struct Ring {
    head: AtomicU64,
    slots: Vec<RingSlot>,
}

impl Ring {
    fn new(slots: usize) -> Arc<Ring> {
        Arc::new(Ring {
            head: AtomicU64::new(0),
            slots: (0..slots).map(|_| RingSlot::default()).collect(),
        })
    }

    fn push(&self, nth: u64) {
        push(&self.head, &self.slots, event(nth));
    }
}

fn event(nth: u64) -> Event {
    Event {
        origin: nth * 1000 + 1,
        what: nth * 1000 + 2,
        id: nth * 1000 + 3,
    }
}

/// Two events that the check in the ticket cannot tell apart, so that only the
/// order of loads and stores keeps a reader from mixing them.
fn alike() -> [Event; 2] {
    let check = |id| check16(id, 0, 0);
    let other = (1..).find(|id| check(*id) == check(0)).unwrap();
    [0, other].map(|id| Event {
        id,
        ..Event::default()
    })
}

#[test]
fn a_late_reader_gets_the_event_it_asked_for_or_none() {
    let [old, new] = alike();
    explore(4, move || {
        let ring = Ring::new(1);
        push(&ring.head, &ring.slots, old);
        let writer = spawn(&ring, move |ring| push(&ring.head, &ring.slots, new));
        for (ticket, whole) in [(0, old), (1, new)] {
            let seen = get(&ring.slots, ticket);
            assert!([None, Some(whole)].contains(&seen), "{seen:?}");
        }
        writer.join().unwrap();
        assert_eq!(get(&ring.slots, 0), None);
        assert_eq!(get(&ring.slots, 1), Some(new));
    });
}

/// A reader that comes in time misses nothing.
#[test]
fn a_published_event_is_there() {
    explore(3, || {
        let ring = Ring::new(2);
        let writer = spawn(&ring, |ring| (0..2).for_each(|nth| ring.push(nth)));
        let seen = [0, 1].map(|ticket| get(&ring.slots, ticket));
        for (nth, event_seen) in seen.into_iter().enumerate() {
            assert!([None, Some(event(nth as u64))].contains(&event_seen));
        }
        writer.join().unwrap();
        assert_eq!(get(&ring.slots, 0), Some(event(0)));
        assert_eq!(get(&ring.slots, 1), Some(event(1)));
    });
}

/// A writer overtaken by a whole round shares its slot with a newer one; what
/// they leave is one of the two events or none.
#[test]
fn two_writers_of_one_slot_never_make_one_event() {
    explore(5, || {
        let ring = Ring::new(1);
        let other = spawn(&ring, |ring| ring.push(1));
        ring.push(2);
        other.join().unwrap();
        for ticket in 0..2 {
            let seen = get(&ring.slots, ticket);
            assert!([None, Some(event(1)), Some(event(2))].contains(&seen));
        }
    });
}
