//! The conditions that an item must meet, pure functions over facts. Each
//! gives a gate with the fact that decided, so that a plan can be argued with.

use std::time::Duration;

use super::owners::{Owner, Owners};
use super::plan::Wish;
use super::protect::Protection;
use super::retire::Seen;
use crate::detect::Found;
use crate::detect::lifetimes::lifetimes;
use crate::detect::model::constants::TIMES_WOKEN;
use crate::detect::model::{Decision, Why};
use crate::kernel::Kind::{Epoll, Eventfd};
use crate::model::{FixGate, Verdict};
use crate::snapshot::facts::{RegistrationFact, StaleFact};
use crate::snapshot::{Descriptor, FdFact, Snapshot, SocketFact, Thing};
use crate::units::{span, told_apart};

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
    /// Locks and mappings of files, where files are to be retired
    pub files: Option<&'a Seen>,
}

/// One condition.
pub(super) fn gate(name: &str, open: bool, fact: impl Into<String>) -> FixGate {
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
        verdict(case.found),
        standard(case),
        created_here(case),
        one_owner(case),
        not_passed_on(case),
        no_listener(case),
        not_waited_on(case),
        not_locked(case),
        wakes_nobody(case),
        many_enough(case),
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

/// Shut for programs that are never touched.
#[must_use]
pub fn process(snapshot: &Snapshot, protection: &Protection) -> Option<FixGate> {
    let name = snapshot.process.comm.as_deref()?;
    let pattern = protection.covers_process(name)?;
    Some(gate("process", false, format!("{pattern} is protected")))
}

/// The gates of a timer that is to be stopped.
#[must_use]
pub fn timer(case: &Case<'_>) -> Vec<FixGate> {
    let timer = fact(case).and_then(|fact| fact.timer).unwrap_or_default();
    let mut gates = common(case);
    gates.push(gate(
        "armed",
        timer.armed,
        if timer.armed {
            "it runs"
        } else {
            "it does not run"
        },
    ));
    gates.push(gate(
        "unread",
        timer.unread_ticks > 0,
        match timer.unread_ticks {
            1 => "1 expiration that nobody read".to_owned(),
            n => format!("{n} expirations that nobody read"),
        },
    ));
    gates
}

/// The gates of a registration whose number is closed or another file's.
#[must_use]
pub fn stale(
    snapshot: &Snapshot,
    found: &Found,
    protection: &Protection,
    entry: RegistrationFact,
    holders: usize,
) -> Vec<FixGate> {
    let why = match entry.stale {
        Some(StaleFact::Closed) => (true, "its number is closed, the file lives"),
        Some(StaleFact::Another) => (true, "its number names another file"),
        None => (false, "its number names the file that it watches"),
    };
    let held = match holders {
        0 => "no descriptor of the file can be found".to_owned(),
        n => format!("open at {n} other descriptors"),
    };
    let mut gates = vec![
        verdict(found),
        gate("stale", why.0, why.1),
        gate("holder", holders > 0, held),
    ];
    gates.extend(process(snapshot, protection));
    gates
}

pub(super) fn verdict(found: &Found) -> FixGate {
    let is_leak = found.verdict() == Verdict::Leak;
    gate("verdict", is_leak, sureness(&found.decision))
}

fn sureness(decision: &Decision) -> String {
    let name = decision.verdict.name();
    match decision.confidence {
        _ if decision.why == Why::Labelled => format!("labelled a {name}"),
        Some(sure) if sure >= 1.0 => format!("{name}, proven"),
        Some(sure) => format!("{name}, {:.0} % sure", sure * 100.0),
        None => name.to_owned(),
    }
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

fn one_owner(case: &Case<'_>) -> FixGate {
    let inode = fact(case).map_or(0, |fact| fact.object.1);
    let own = Owner {
        pid: case.snapshot.facts.pid,
        fd: case.open.fd,
    };
    let is_parked = case.files.is_some() && fact(case).is_some_and(|fact| fact.what == "regular");
    if !is_parked && fact(case).is_some_and(|fact| fact.socket.is_none()) {
        return one_file(case.owners.of_open_file(own));
    }
    let owners = match fact(case) {
        Some(file) if file.what == "regular" => case.owners.of_file(file.object),
        _ => case.owners.of_inode(inode),
    };
    let others = owners.iter().filter(|owner| **owner != own).count();
    let (open, said) = match (owners.contains(&own), others) {
        (_, 1..) => (false, elsewhere(others)),
        (true, _) => (true, "one descriptor of one process".to_owned()),
        (false, _) => (false, "not there any more".to_owned()),
    };
    gate("owner", open, said)
}

fn elsewhere(others: usize) -> String {
    match others {
        1 => "also open at another descriptor, or in another process".to_owned(),
        n => format!("also open at {n} other descriptors or processes"),
    }
}

pub(super) fn one_file(open: Option<usize>) -> FixGate {
    match open {
        Some(1) => gate("owner", true, "one descriptor of one process"),
        Some(n) => gate("owner", false, elsewhere(n.saturating_sub(1))),
        None => gate("owner", false, "whether it is open elsewhere is not known"),
    }
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

/// A span beside the least that is asked: where it falls short, that is seen.
pub(super) fn beside(is_s: f64, least_s: f64) -> (String, String) {
    if is_s >= least_s {
        (span(is_s), span(least_s))
    } else {
        told_apart(is_s, least_s)
    }
}

/// The least age.
fn floor(case: &Case<'_>) -> f64 {
    floor_of(case.protection, case.found.kind, case.min_age)
}

/// The same: the flag's, else the file's, else the built-in one.
pub(super) fn floor_of(
    protection: &Protection,
    kind: crate::model::Kind,
    asked: Option<Duration>,
) -> f64 {
    let asked = asked.map(|age| age.as_secs_f64());
    let written = protection.floors(kind).min_age_s;
    asked.or(written).unwrap_or(FLOOR.as_secs_f64())
}

/// The age of what the kernel lists without a descriptor. What no row tells of
/// is as old as what we know of.
pub(super) fn thing_old_enough(
    snapshot: &Snapshot,
    found: &Found,
    wish: &Wish,
    thing: &Thing,
) -> FixGate {
    let least = floor_of(&wish.protection, found.kind, wish.min_age);
    let Some(born_ms) = thing.born_ms else {
        return gate(
            "age",
            true,
            "no row tells of it, but the kernel in two looks",
        );
    };
    let age = snapshot.moment_ms.saturating_sub(born_ms) as f64 / 1000.0;
    let (age_said, least_said) = beside(age, least);
    let said = format!("{age_said} old, at least {least_said} is asked");
    gate("age", age >= least, said)
}

/// The least time without use, likewise.
pub(super) fn idle_floor(case: &Case<'_>) -> f64 {
    idle_floor_of(case.protection, case.found.kind, case.min_age)
}

/// The same: the flag's, else the file's, else the built-in one.
pub(super) fn idle_floor_of(
    protection: &Protection,
    kind: crate::model::Kind,
    asked: Option<Duration>,
) -> f64 {
    let asked = asked.map(|age| age.as_secs_f64());
    let written = protection.floors(kind).min_idle_s;
    asked.or(written).unwrap_or(FLOOR.as_secs_f64())
}

/// Whoever would connect next, of whichever family.
fn no_listener(case: &Case<'_>) -> FixGate {
    let state = fact(case).and_then(|fact| fact.socket.as_ref()?.state.as_deref());
    let (open, said) = match state {
        Some("LISTEN") => (false, "it listens"),
        _ => (true, "it does not listen"),
    };
    gate("listener", open, said)
}

/// What is sent or received by SCM_RIGHTS may be on its way to another
/// program, where /proc does not show it.
fn not_passed_on(case: &Case<'_>) -> FixGate {
    let passed = case.open.elsewhere;
    let said = if passed {
        "passed on by SCM_RIGHTS, received so, or libc's own"
    } else {
        "not passed on by SCM_RIGHTS"
    };
    gate("passed on", !passed, said)
}

/// POSIX locks are of the process: closing any descriptor of the file drops
/// them.
fn not_locked(case: &Case<'_>) -> FixGate {
    let locked = fact(case).is_some_and(|fact| fact.locked);
    let said = if locked {
        "the process holds a lock on it"
    } else {
        "no lock on it"
    };
    gate("lock", !locked, said)
}

/// Programs and libraries wake themselves by eventfds, epolls and pipes to
/// themselves, and may do so only at their end.
fn wakes_nobody(case: &Case<'_>) -> FixGate {
    let (open, said) = match fact(case) {
        Some(fact) if fact.what == Eventfd.name() => (
            false,
            "an eventfd: the program may need it at its end only, and the kernel may signal it",
        ),
        Some(fact) if fact.what == Epoll.name() => (
            false,
            "an epoll: it passes on events of all that it watches",
        ),
        Some(fact) if fact.self_pipe => (
            false,
            "a pipe to itself that its epoll watches: it wakes itself by it, perhaps at its end only",
        ),
        _ => (true, "nothing that it wakes itself with"),
    };
    gate("wake-up", open, said)
}

/// Fewer than the user asks for are not worth it.
fn many_enough(case: &Case<'_>) -> FixGate {
    let least = case
        .protection
        .floors(case.found.kind)
        .min_count
        .unwrap_or(1);
    let count = case.found.count;
    gate(
        "count",
        count >= least,
        format!("{count} of this finding, at least {least} is asked"),
    )
}

/// Older than ten times what 99 % of its kind lived.
fn old_enough(case: &Case<'_>) -> FixGate {
    let stats = &case.snapshot.sites.all[case.found.site].stats;
    let lives = lifetimes(stats).map_or(0.0, |lives| LIVES * lives.p99_s);
    let least = lives.max(floor(case));
    match case.snapshot.descriptor_age_s(case.open) {
        Some(age) => {
            let (age_said, least_said) = beside(age, least);
            let said = format!("{age_said} old, at least {least_said} is asked");
            gate("age", age >= least, said)
        }
        None => gate("age", false, "its age is not known"),
    }
}

pub(super) fn connected(socket: &SocketFact) -> FixGate {
    let state = socket.state.as_deref();
    gate(
        "state",
        matches!(state, Some("ESTABLISHED" | "CLOSE_WAIT" | "FIN_WAIT2")),
        state.unwrap_or("no connection: it has ended, or never was; only the number is held"),
    )
}

pub(super) fn nothing_to_send(socket: &SocketFact) -> FixGate {
    match socket.send_queue {
        Some(0) => gate("send queue", true, "empty"),
        Some(bytes) => gate("send queue", false, format!("{bytes} bytes wait")),
        None => gate("send queue", false, "not known"),
    }
}

/// The traffic window: neither sent nor received for as long as is asked, for
/// several times the longest pause after which one of its site was used again,
/// and since the first of two looks.
fn idle_enough(case: &Case<'_>, socket: &SocketFact) -> FixGate {
    let last = socket.sent_ms.min(socket.received_ms);
    idle(case, last.map(|ms| ms as f64 / 1000.0))
}

/// The same for whatever is dated otherwise.
pub(super) fn idle(case: &Case<'_>, idle_s: Option<f64>) -> FixGate {
    let Some(idle) = idle_s else {
        return gate("traffic", false, "its times are not known");
    };
    let woken = TIMES_WOKEN * case.found.measured.woken_gap_ms as f64 / 1000.0;
    let (least, why) = window(
        idle_floor(case),
        woken,
        case.protection.first_look_s(case.snapshot.facts.taken_at),
    );
    let (idle_said, least_said) = beside(idle, least);
    let said = format!("none for {idle_said}, at least {least_said} is asked{why}");
    gate("traffic", idle >= least, said)
}

/// The longest of the three, and why it is asked.
fn window(floor: f64, woken: f64, first_look: f64) -> (f64, &'static str) {
    if first_look > floor.max(woken) {
        (first_look, ", the time since the first look")
    } else if woken > floor {
        (woken, ", 4 times a pause after which one was used again")
    } else {
        (floor, "")
    }
}

/// No port of infrastructure at either end.
pub(super) fn not_infrastructure(protection: &Protection, socket: &SocketFact) -> FixGate {
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

    #[test]
    fn a_label_is_no_proof() {
        let proven = Decision::proven();
        let labelled = Decision {
            why: Why::Labelled,
            ..proven
        };
        assert_eq!(sureness(&proven), "leak, proven");
        assert_eq!(sureness(&labelled), "labelled a leak");
    }

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
    fn the_longest_of_floor_pause_and_first_look_is_asked() {
        assert_eq!(window(300.0, 0.0, 1.0), (300.0, ""));
        let (least, why) = window(300.0, 2400.0, 1.0);
        assert!(least == 2400.0 && why.contains("used again"), "{why}");
        let (least, why) = window(0.0, 0.0, 1.2);
        assert!(least == 1.2 && why.contains("first look"), "{why}");
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
