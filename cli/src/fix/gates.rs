//! The conditions that an item must meet, pure functions over facts. Each
//! gives a gate with the fact that decided, so that a plan can be argued with.

use std::time::Duration;

use super::owners::{Owner, Owners};
use super::protect::Protection;
use crate::detect::Found;
use crate::detect::lifetimes::lifetimes;
use crate::model::{FixGate, Verdict};
use crate::snapshot::{Descriptor, FdFact, Snapshot, SocketFact};
use crate::units::span;

/// Least age and idleness, unless `--min-age` says otherwise.
const FLOOR: Duration = Duration::from_secs(300);
/// Times the 99th percentile of completed lives that an object must be old.
const LIVES: f64 = 10.0;

/// All that the gates look at.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The process
    pub snapshot: &'a Snapshot,
    /// The finding
    pub found: &'a Found,
    /// The descriptor
    pub open: &'a Descriptor,
    /// Who has what open
    pub owners: &'a Owners,
    /// What is never touched
    pub protection: &'a Protection,
    /// Replaces the fixed floors
    pub min_age: Option<Duration>,
}

fn gate(name: &str, open: bool, fact: impl Into<String>) -> FixGate {
    FixGate {
        name: name.to_owned(),
        open,
        fact: fact.into(),
    }
}

/// The gates of every kind: whose it is, how old, and whether it is needed.
#[must_use]
pub fn common(case: &Case<'_>) -> Vec<FixGate> {
    vec![
        verdict(case),
        standard(case),
        created_here(case),
        one_owner(case),
        not_waited_on(case),
        old_enough(case),
    ]
}

/// The gates of a TCP socket that is to be shown an end of file.
#[must_use]
pub fn tcp(case: &Case<'_>) -> Vec<FixGate> {
    let none = SocketFact::default();
    let socket = fact(case)
        .and_then(|fact| fact.socket.as_ref())
        .unwrap_or(&none);
    let mut gates = common(case);
    gates.extend([
        connected(socket),
        nothing_to_send(socket),
        idle_enough(case, socket),
        not_infrastructure(case.protection, socket),
    ]);
    gates
}

fn fact<'a>(case: &Case<'a>) -> Option<&'a FdFact> {
    case.open.fact.as_ref()
}

fn verdict(case: &Case<'_>) -> FixGate {
    let how = match case.found.decision.confidence {
        Some(sure) if sure >= 1.0 => "leak, proven".to_owned(),
        Some(sure) => format!(
            "{}, {:.0} % sure",
            case.found.verdict().name(),
            sure * 100.0
        ),
        None => case.found.verdict().name().to_owned(),
    };
    gate("verdict", case.found.verdict() == Verdict::Leak, how)
}

fn standard(case: &Case<'_>) -> FixGate {
    gate(
        "number",
        case.open.fd > 2,
        format!("descriptor {}", case.open.fd),
    )
}

fn created_here(case: &Case<'_>) -> FixGate {
    let (open, fact) = match (case.open.inherited, case.open.origin_known) {
        (Some(true), _) => (false, "inherited"),
        (_, false) => (false, "of unknown origin"),
        _ => (true, "created by this process"),
    };
    gate("origin", open, fact)
}

/// Sockets and pipes have an inode of their own; of what shares one, the
/// library's word is taken that nobody duplicated it.
fn one_owner(case: &Case<'_>) -> FixGate {
    let inode = fact(case).map_or(0, |fact| fact.object.1);
    let owners = case.owners.of_inode(inode);
    let own = Owner {
        pid: case.snapshot.facts.pid,
        fd: case.open.fd,
    };
    let others = owners.iter().filter(|owner| **owner != own).count();
    let (open, said) = match (owners.contains(&own), others) {
        (_, 1..) => (
            false,
            format!("also open at {others} other descriptors or processes"),
        ),
        (true, _) => (true, "one descriptor of one process".to_owned()),
        (false, _) => (false, "not there any more".to_owned()),
    };
    gate("owner", open, said)
}

fn not_waited_on(case: &Case<'_>) -> FixGate {
    let (open, said) = match fact(case).and_then(|fact| fact.blocked) {
        Some(false) => (true, "no thread waits in a call on it"),
        Some(true) => (false, "a thread waits in a call on it"),
        None => (
            false,
            "whether a thread waits on it cannot be seen; run memguard as root",
        ),
    };
    gate("in use", open, said)
}

fn floor(case: &Case<'_>) -> f64 {
    case.min_age.unwrap_or(FLOOR).as_secs_f64()
}

/// Older than ten times what 99 % of its kind lived.
fn old_enough(case: &Case<'_>) -> FixGate {
    let stats = &case.snapshot.sites.all[case.found.site].stats;
    let lives = lifetimes(stats).map_or(0.0, |lives| LIVES * lives.p99_s);
    let least = lives.max(floor(case));
    match case.snapshot.descriptor_age_s(case.open) {
        Some(age) => gate(
            "age",
            age >= least,
            format!("{} old, at least {} is asked", span(age), span(least)),
        ),
        None => gate("age", false, "its age is not known"),
    }
}

fn connected(socket: &SocketFact) -> FixGate {
    let state = socket.state.as_deref().unwrap_or("unknown");
    gate(
        "state",
        matches!(state, "ESTABLISHED" | "CLOSE_WAIT" | "FIN_WAIT2"),
        state,
    )
}

fn nothing_to_send(socket: &SocketFact) -> FixGate {
    match socket.send_queue {
        Some(0) => gate("send queue", true, "empty"),
        Some(bytes) => gate("send queue", false, format!("{bytes} bytes wait")),
        None => gate("send queue", false, "not known"),
    }
}

/// The traffic window: neither sent nor received for long.
fn idle_enough(case: &Case<'_>, socket: &SocketFact) -> FixGate {
    let least = floor(case);
    let last = socket.sent_ms.min(socket.received_ms);
    match last.map(|ms| ms as f64 / 1000.0) {
        Some(idle) => gate(
            "traffic",
            idle >= least,
            format!("none for {}, at least {} is asked", span(idle), span(least)),
        ),
        None => gate("traffic", false, "its times are not known"),
    }
}

fn not_infrastructure(protection: &Protection, socket: &SocketFact) -> FixGate {
    let port = protection
        .covers(socket.local.as_deref())
        .or_else(|| protection.covers(socket.peer.as_deref()));
    match port {
        Some(port) => gate("port", false, format!("port {port} is protected")),
        None => gate("port", true, "no protected port at either end"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(state: &str) -> SocketFact {
        SocketFact {
            state: Some(state.into()),
            send_queue: Some(0),
            local: Some("127.0.0.1:4000".into()),
            peer: Some("127.0.0.1:4001".into()),
            ..SocketFact::default()
        }
    }

    #[test]
    fn listeners_and_connections_in_the_making_are_left_alone() {
        for state in ["LISTEN", "SYN_SENT", "SYN_RECV", "CLOSE", "unknown"] {
            assert!(!connected(&socket(state)).open, "{state}");
        }
        assert!(connected(&socket("CLOSE_WAIT")).open);
        assert!(!connected(&SocketFact::default()).open);
    }

    #[test]
    fn what_waits_to_be_sent_or_is_unknown_shuts_the_gate() {
        assert!(nothing_to_send(&socket("ESTABLISHED")).open);
        let busy = SocketFact {
            send_queue: Some(1),
            ..socket("ESTABLISHED")
        };
        assert!(!nothing_to_send(&busy).open);
        assert!(!nothing_to_send(&SocketFact::default()).open);
    }

    #[test]
    fn a_database_at_the_other_end_is_infrastructure() {
        let database = SocketFact {
            peer: Some("10.0.0.1:5432".into()),
            ..socket("CLOSE_WAIT")
        };
        assert!(!not_infrastructure(&Protection::default(), &database).open);
        assert!(not_infrastructure(&Protection::default(), &socket("CLOSE_WAIT")).open);
    }
}
