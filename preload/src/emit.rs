//! Events for a live reader: one load when nobody listens.

use crate::segment::Segment;
use core::sync::atomic::Ordering;
use shm_protocol::codes::Section;
use shm_protocol::ring::{self, Action, EVENTS, Event, RingSlot};
use shm_protocol::words::Origin;

/// A reader whose heartbeat is older than this is gone.
const FRESH_MS: u64 = 3000;

/// Appends an event if somebody listens.
#[inline]
pub fn event(segment: &Segment, now_ms: u64, action: Action, kind: u8, origin: Origin, id: u64) {
    let heartbeat = segment.header().heartbeat_ms.load(Ordering::Relaxed);
    if heartbeat != 0 && now_ms.saturating_sub(heartbeat) < FRESH_MS {
        let origin = Origin {
            at_ms: now_ms,
            site: origin.site,
        };
        push(
            segment,
            Event {
                origin: origin.pack(),
                what: Event::what(action, kind, 0),
                id,
            },
        );
    }
}

#[cold]
fn push(segment: &Segment, event: Event) {
    if segment.run_count(Section::Ring) == 0 && !segment.grow(Section::Ring, EVENTS) {
        return;
    }
    if let Some(slots) = segment.in_run::<RingSlot>(Section::Ring, 0, 0, EVENTS, true) {
        ring::push(&segment.header().ring_head, slots, event);
    }
}
