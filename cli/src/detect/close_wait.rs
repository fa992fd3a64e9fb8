//! The hard proof: sockets whose peer has gone and that nobody closes.
//!
//! A socket in CLOSE_WAIT alone proves nothing: a healthy client may have
//! closed its sending half and wait for the answer. It is proven only when no
//! byte was sent since the peer's end of stream for long, nothing waits to be
//! sent, no thread is blocked on it, its other end is not known to be open
//! still, and the site has several such.

use super::Wanted;
use super::candidates::millis;
use super::model::constants::{CLOSE_WAIT_FEWEST, CLOSE_WAIT_FLOOR, TIMES_LONGEST};
use crate::model::Kind;
use crate::snapshot::{Descriptor, FdFact, Site, Snapshot, SocketFact};

/// The site's proven descriptors by index; empty when they are too few.
/// `--min-age` replaces the fixed floor.
#[must_use]
pub fn proven(snapshot: &Snapshot, site: &Site, wanted: &Wanted) -> Vec<usize> {
    if site.kind != Some(Kind::Sockets) {
        return Vec::new();
    }
    let floor = millis(wanted.min_age.unwrap_or(CLOSE_WAIT_FLOOR));
    let longest_ms = (site.stats.longest_ms as f64 * TIMES_LONGEST).ceil() as u64;
    let proof = |open: &Descriptor| is_proven(open, floor.max(longest_ms)) && came(open, wanted);
    let open = site.live.descriptors.iter().copied();
    let mut proven: Vec<usize> = open
        .filter(|open| proof(&snapshot.descriptors[*open]))
        .collect();
    proven.sort_unstable();
    if proven.len() >= CLOSE_WAIT_FEWEST {
        proven
    } else {
        Vec::new()
    }
}

/// Whether it is of the time that is asked for.
fn came(open: &Descriptor, wanted: &Wanted) -> bool {
    let after = wanted.born_after_ms;
    after.is_none_or(|after| open.born_ms.unwrap_or(0) > after)
}

fn is_proven(open: &Descriptor, least_ms: u64) -> bool {
    let nobody_waits = |fact: &&FdFact| fact.blocked == Some(false);
    let Some(fact) = open.fact.as_ref().filter(nobody_waits) else {
        return false;
    };
    fact.socket
        .as_ref()
        .is_some_and(|socket| abandoned_for(socket).is_some_and(|ms| ms >= least_ms))
}

/// How long a socket has stood with its peer gone and nothing sent. The time
/// of the peer's end of stream is not recorded, but it came no later than the
/// last packet of any sort.
fn abandoned_for(socket: &SocketFact) -> Option<u64> {
    let waits = socket.state.as_deref() == Some("CLOSE_WAIT") && socket.send_queue == Some(0);
    (waits && !socket.peer_waits)
        .then(|| Some(socket.sent_ms?.min(socket.heard_ms?)))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(change: impl FnOnce(&mut SocketFact, &mut Option<bool>)) -> Descriptor {
        let mut socket = SocketFact {
            state: Some("CLOSE_WAIT".into()),
            send_queue: Some(0),
            sent_ms: Some(700_000),
            heard_ms: Some(650_000),
            ..SocketFact::default()
        };
        let mut blocked = Some(false);
        change(&mut socket, &mut blocked);
        let fact = FdFact {
            socket: Some(socket),
            blocked,
            ..FdFact::default()
        };
        Descriptor {
            fact: Some(fact),
            ..Descriptor::default()
        }
    }

    #[test]
    fn every_condition_is_needed() {
        assert!(is_proven(&socket(|_, _| {}), 600_000));
        assert!(!is_proven(&socket(|_, _| {}), 660_000));
        assert!(!is_proven(
            &socket(|s, _| s.state = Some("ESTABLISHED".into())),
            600_000
        ));
        assert!(!is_proven(&socket(|s, _| s.send_queue = Some(1)), 600_000));
        assert!(!is_proven(&socket(|s, _| s.send_queue = None), 600_000));
        assert!(!is_proven(&socket(|s, _| s.peer_waits = true), 600_000));
        assert!(!is_proven(&socket(|s, _| s.sent_ms = Some(5)), 600_000));
        assert!(!is_proven(&socket(|s, _| s.sent_ms = None), 600_000));
        assert!(!is_proven(&socket(|s, _| s.heard_ms = Some(5)), 600_000));
        assert!(!is_proven(
            &socket(|_, blocked| *blocked = Some(true)),
            600_000
        ));
        assert!(!is_proven(&socket(|_, blocked| *blocked = None), 600_000));
        assert!(!is_proven(&Descriptor::default(), 0));
    }
}
