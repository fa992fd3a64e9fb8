//! How old a descriptor is, and for how long nobody has used it, where
//! anything tells.

use crate::snapshot::{Descriptor, Snapshot, SocketFact};

impl Snapshot {
    /// Seconds since a descriptor was created; where the library did not see
    /// that, what the kernel's records tell at the least.
    #[must_use]
    pub fn descriptor_age_s(&self, open: &Descriptor) -> Option<f64> {
        let seen = open.born_ms.map(|born| self.age_s(born));
        seen.or_else(|| open.fact.as_ref()?.age_ms.map(|ms| ms as f64 / 1000.0))
    }

    /// Seconds since a descriptor was last used, at the least: the kernel's
    /// word for connected TCP, else a stamp of the library's, else what two looks
    /// told of stdio. Creation stamps too; where there is no stamp, not all uses
    /// are seen.
    #[must_use]
    pub fn idle_s(&self, open: &Descriptor) -> Option<f64> {
        idle_ms(open, self.moment_ms).map(|ms| ms as f64 / 1000.0)
    }

    /// The same; of stdio also what is only known to be the least, however
    /// little of its life that is.
    #[must_use]
    pub fn idle_at_least_s(&self, open: &Descriptor) -> Option<f64> {
        let still = || since_still(open, self.moment_ms).map(|ms| ms as f64 / 1000.0);
        self.idle_s(open).or_else(still)
    }
}

fn idle_ms(open: &Descriptor, moment_ms: u64) -> Option<u64> {
    let socket = open.fact.as_ref().and_then(|fact| fact.socket.as_ref());
    let idle = socket
        .and_then(without_data)
        .or_else(|| since_stamp(open, moment_ms))
        .or_else(|| nearly_all_its_life(open, moment_ms))?;
    let age = open.born_ms.map(|born| moment_ms.saturating_sub(born));
    Some(age.map_or(idle, |age| idle.min(age)))
}

/// Since the first look that saw the position where it is now.
fn since_still(open: &Descriptor, moment_ms: u64) -> Option<u64> {
    Some(moment_ms.saturating_sub(open.still_since_ms?))
}

/// A position that moved since the look before says when it was used. One that
/// stands still since some look says nothing of the time before that: it counts
/// as known once nine tenths of its life have been seen.
fn nearly_all_its_life(open: &Descriptor, moment_ms: u64) -> Option<u64> {
    let still_ms = since_still(open, moment_ms)?;
    let age_ms = moment_ms.saturating_sub(open.born_ms?);
    (still_ms == 0 || still_ms.saturating_mul(10) >= age_ms.saturating_mul(9)).then_some(still_ms)
}

/// Since data went either way, of a connected socket: the kernel's times of
/// others mean nothing.
fn without_data(socket: &SocketFact) -> Option<u64> {
    let unconnected = ["LISTEN", "CLOSE", "SYN_SENT", "SYN_RECV"];
    let state = socket.state.as_deref()?;
    (!unconnected.contains(&state))
        .then(|| Some(socket.sent_ms?.min(socket.received_ms?)))
        .flatten()
}

fn since_stamp(open: &Descriptor, moment_ms: u64) -> Option<u64> {
    Some(moment_ms.saturating_sub(open.used_ms?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;
    use crate::snapshot::FdFact;

    fn tcp(state: &str, sent_ms: Option<u64>) -> Descriptor {
        let socket = SocketFact {
            state: Some(state.into()),
            sent_ms,
            received_ms: Some(9_000),
            ..SocketFact::default()
        };
        Descriptor {
            kind: Some(Kind::Sockets),
            born_ms: Some(1_000),
            origin_known: true,
            fact: Some(FdFact {
                socket: Some(socket),
                ..FdFact::default()
            }),
            ..Descriptor::default()
        }
    }

    #[test]
    fn what_was_never_stamped_is_not_called_unused() {
        for kind in [Kind::Files, Kind::Pipes, Kind::Sockets] {
            let open = Descriptor {
                kind: Some(kind),
                born_ms: Some(1_000),
                origin_known: true,
                ..Descriptor::default()
            };
            assert_eq!(idle_ms(&open, 60_000), None, "{kind:?}");
        }
    }

    #[test]
    fn the_kernel_tells_of_connected_tcp_only() {
        assert_eq!(
            idle_ms(&tcp("ESTABLISHED", Some(4_000)), 60_000),
            Some(4_000)
        );
        assert_eq!(
            idle_ms(&tcp("CLOSE_WAIT", Some(12_000)), 60_000),
            Some(9_000)
        );
        for state in ["LISTEN", "CLOSE", "SYN_SENT"] {
            assert_eq!(idle_ms(&tcp(state, Some(4_000)), 60_000), None, "{state}");
        }
        assert_eq!(idle_ms(&tcp("ESTABLISHED", None), 60_000), None);
    }

    #[test]
    fn a_position_seen_for_a_while_does_not_speak_of_the_time_before() {
        let still = |since| Descriptor {
            born_ms: Some(0),
            stdio: true,
            still_since_ms: Some(since),
            ..Descriptor::default()
        };
        assert_eq!(idle_ms(&still(1_000), 60_000), Some(59_000));
        assert_eq!(idle_ms(&still(59_000), 60_000), None);
        assert_eq!(since_still(&still(59_000), 60_000), Some(1_000));
        assert_eq!(idle_ms(&still(60_000), 60_000), Some(0));
    }

    #[test]
    fn nothing_is_idle_for_longer_than_it_exists() {
        assert_eq!(
            idle_ms(&tcp("ESTABLISHED", Some(8_000)), 3_000),
            Some(2_000)
        );
    }

    #[test]
    fn a_stamp_counts_from_its_later_end() {
        let open = Descriptor {
            used_s: Some(7),
            used_ms: Some(8_000),
            ..Descriptor::default()
        };
        assert_eq!(idle_ms(&open, 10_500), Some(2_500));
        assert_eq!(idle_ms(&open, 7_500), Some(0));
    }
}
