//! The hard proof: sockets whose peer has gone and that nobody closes.
//!
//! A socket in CLOSE_WAIT alone proves nothing: a healthy client may have
//! closed its sending half and wait for the answer. It is proven only when no
//! byte was sent since the peer's end of stream for long, nothing waits to be
//! sent, no thread is blocked on it, and the site has several such.

use std::time::Duration;

use super::{Wanted, assess};
use crate::model::Kind;
use crate::snapshot::{Descriptor, FdFact, Site, Snapshot, SocketFact};

/// How long the program had to react; `--min-age` replaces it.
const LONG: Duration = Duration::from_secs(600);
/// One may be an accident.
const SEVERAL: usize = 3;

/// The site's proven descriptors, oldest first; empty when they are too few.
#[must_use]
pub fn proven(snapshot: &Snapshot, site: &Site, wanted: &Wanted) -> Vec<usize> {
    if site.kind != Some(Kind::Sockets) {
        return Vec::new();
    }
    let least_ms = assess::old_age_ms(site, wanted.min_age.unwrap_or(LONG));
    let all = super::of_interest(snapshot, site, wanted);
    let mut proven: Vec<usize> = all
        .filter(|open| is_proven(&snapshot.descriptors[*open], least_ms))
        .collect();
    proven.sort_by_key(|open| snapshot.descriptors[*open].born_ms);
    if proven.len() >= SEVERAL {
        proven
    } else {
        Vec::new()
    }
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
    waits
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
