//! The hard proof: sockets whose peer has gone and that nobody closes.
//!
//! A socket in CLOSE_WAIT alone proves nothing: a healthy client may have
//! closed its sending half and wait for the answer. It is proven only when no
//! byte was sent since the peer's end of stream for long, nothing waits to be
//! sent, no thread is blocked on it, its other end is not known to be open
//! still, and the site has several such.

use std::time::Duration;

use super::candidates::millis;
use super::model::constants::{CLOSE_WAIT_FEWEST, CLOSE_WAIT_FLOOR, FEWEST_RECENT, TIMES_LONGEST};
use super::model::measure;
use super::{Candidate, Context, Held, Wanted};
use crate::model::Kind;
use crate::snapshot::{Descriptor, FdFact, Site, Snapshot, SocketFact};

/// The site's leaked descriptors by index: proven, and more keep coming. A pool
/// whose peers all hung up is full of proven ones, too: it stops there.
/// `later_ms`: as they will stand then, should nothing else happen meanwhile.
#[must_use]
pub fn leaking(
    snapshot: &Snapshot,
    at: usize,
    wanted: &Wanted,
    context: &Context<'_>,
    later_ms: u64,
) -> Vec<usize> {
    let site = &snapshot.sites.all[at];
    let proof = proven(snapshot, site, wanted, later_ms);
    let is_proof =
        |held: Held| matches!(held, Held::Descriptor(open) if proof.binary_search(&open).is_ok());
    let keep_coming = || {
        let waiting = Candidate::of(snapshot, at, Kind::Sockets, wanted, is_proof);
        let data = waiting.data(snapshot, Kind::Sockets, wanted, context);
        // Of all that stand so, also of the young: else it would depend on when
        // one looks, with nothing else happening.
        let standing = ages_ms(snapshot, site, wanted).len() as u64;
        let least = (standing / 3).clamp(1, FEWEST_RECENT);
        measure(&data, context.looks.number).coming.lately >= least
    };
    if !proof.is_empty() && keep_coming() {
        proof
    } else {
        Vec::new()
    }
}

/// The site's proven descriptors; empty when they are too few.
fn proven(snapshot: &Snapshot, site: &Site, wanted: &Wanted, later_ms: u64) -> Vec<usize> {
    if site.kind != Some(Kind::Sockets) {
        return Vec::new();
    }
    let least_ms = least_ms(site, wanted.min_age).saturating_sub(later_ms);
    let proof = |open: &Descriptor| is_proven(open, least_ms) && came(open, wanted);
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

/// For how long each has been abandoned of those that nothing but its age keeps
/// from being proof, the youngest first.
#[must_use]
pub fn ages_ms(snapshot: &Snapshot, site: &Site, wanted: &Wanted) -> Vec<u64> {
    let open = site.live.descriptors.iter();
    let open = open.map(|open| &snapshot.descriptors[*open]);
    let mut ages: Vec<u64> = open
        .filter(|open| came(open, wanted))
        .filter_map(proof_ms)
        .collect();
    ages.sort_unstable();
    ages
}

/// For how long one must have been abandoned; `--min-age` replaces the fixed
/// floor.
#[must_use]
pub fn least_ms(site: &Site, min_age: Option<Duration>) -> u64 {
    let floor = millis(min_age.unwrap_or(CLOSE_WAIT_FLOOR));
    let longest_ms = (site.stats.longest_ms as f64 * TIMES_LONGEST).ceil() as u64;
    floor.max(longest_ms)
}

/// Whether it is of the time that is asked for.
fn came(open: &Descriptor, wanted: &Wanted) -> bool {
    let after = wanted.born_after_ms;
    after.is_none_or(|after| open.born_ms.unwrap_or(0) > after)
}

fn is_proven(open: &Descriptor, least_ms: u64) -> bool {
    proof_ms(open).is_some_and(|ms| ms >= least_ms)
}

/// For how long it has been abandoned, where no thread waits on it.
fn proof_ms(open: &Descriptor) -> Option<u64> {
    let nobody_waits = |fact: &&FdFact| fact.blocked == Some(false);
    let fact = open.fact.as_ref().filter(nobody_waits)?;
    abandoned_for(fact.socket.as_ref()?)
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
