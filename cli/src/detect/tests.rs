//! Findings on snapshots made by hand.

use shm_protocol::hist::{BUCKETS, bucket};
use shm_protocol::view::PointInfo;

use super::context::Unlearned;
use super::*;
use crate::model::Report;
use crate::snapshot::{Descriptor, Facts, FdFact, Live, Site, SocketFact, Stats};

const HOUR_MS: u64 = 3_600_000;

/// An hour old, with room for a thousand descriptors.
fn empty() -> Snapshot {
    let facts = Facts {
        alive: true,
        fd_limit: Some(1_000),
        memory_headroom_bytes: Some(1 << 30),
        ..Facts::default()
    };
    let mut snapshot = Snapshot::build(facts, &[], None, "").unwrap();
    snapshot.process.instrumented = true;
    snapshot.moment_ms = HOUR_MS;
    snapshot
}

/// A site that closed so many, each within a second.
fn site(snapshot: &mut Snapshot, kind: Kind, closed: u64) -> usize {
    let mut lifetimes = [0; BUCKETS];
    (0..closed).for_each(|at| lifetimes[bucket(100 + at * 900 / closed)] += 1);
    snapshot.sites.all.push(Site {
        kind: Some(kind),
        frames: vec![],
        key: snapshot.sites.all.len() as u64 + 1,
        stats: Stats {
            first_ms: 0,
            births: closed,
            deaths: closed,
            est_births: closed as f64,
            longest_ms: if closed > 0 { 999 } else { 0 },
            lifetimes,
            points: vec![PointInfo {
                at_ms: HOUR_MS,
                births: closed,
                deaths: closed,
            }],
        },
        live: Live::default(),
    });
    snapshot.sites.all.len() - 1
}

/// One more socket of a site, unused for so long.
fn hold(snapshot: &mut Snapshot, site: usize, born_ms: u64, idle_ms: Option<u64>) {
    let socket = SocketFact {
        state: Some("ESTABLISHED".into()),
        sent_ms: idle_ms,
        received_ms: idle_ms,
        ..SocketFact::default()
    };
    let at = snapshot.descriptors.len();
    snapshot.descriptors.push(Descriptor {
        fd: at as i32,
        kind: snapshot.sites.all[site].kind,
        born_ms: Some(born_ms),
        origin_known: true,
        fact: Some(FdFact {
            what: "tcp".into(),
            socket: Some(socket),
            ..FdFact::default()
        }),
        ..Descriptor::default()
    });
    let site = &mut snapshot.sites.all[site];
    site.stats.births += 1;
    site.live.add(born_ms, 1.0, 0.0);
    site.live.descriptors.push(at);
}

/// One every half minute for an hour, forgotten at once.
fn leaks(snapshot: &mut Snapshot, site: usize) {
    for at in 0..120 {
        hold(snapshot, site, at * 30_000, Some(HOUR_MS - at * 30_000));
    }
}

fn said(snapshot: &Snapshot, context: &Context<'_>) -> Report {
    report(snapshot, &Wanted::default(), context, &mut Offsets)
}

fn verdicts(report: &Report) -> Vec<(Kind, Verdict)> {
    let all = report.findings.iter();
    all.map(|finding| (finding.kind, finding.verdict)).collect()
}

#[test]
fn a_leak_is_told_from_the_pool_beside_it() {
    let mut snapshot = empty();
    let pool = site(&mut snapshot, Kind::Sockets, 0);
    (0..100).for_each(|at| hold(&mut snapshot, pool, at, Some(600_000)));
    let leaky = site(&mut snapshot, Kind::Sockets, 5_000);
    leaks(&mut snapshot, leaky);
    hold(&mut snapshot, leaky, HOUR_MS - 500, Some(0));
    let report = said(&snapshot, &Context::default());
    assert_eq!(
        verdicts(&report),
        [
            (Kind::Sockets, Verdict::Leak),
            (Kind::Sockets, Verdict::Held)
        ]
    );
    let leak = &report.findings[0];
    // Those of the last two minutes may still be at work.
    assert_eq!((leak.count, leak.resources.len()), (116, 116));
    assert_eq!(leak.confidence, Some(0.99));
    assert!(leak.stays.unwrap().low > 0.01 && leak.stays.unwrap().high < 0.04);
    assert!(leak.exhaustion_s.unwrap() < 8.0 * 3600.0);
    assert!(!leak.survival.is_empty() && leak.survival.len() <= 20);
    let plain = leak.summary.replace('\u{a0}', " ");
    assert!(
        plain.starts_with("5 000 of 5 121 sockets from an unknown place were closed within 999 ms"),
        "{plain}"
    );
    assert!(
        plain.contains("116 are 3 min to 60 min old, none closed since"),
        "{plain}"
    );
    assert!(plain.contains("descriptors run out in"), "{plain}");
    assert!(
        leak.evidence
            .iter()
            .any(|fact| fact.contains("fewer than 1 of")),
        "{:?}",
        leak.evidence
    );
}

#[test]
fn the_same_in_use_or_of_unknown_use_is_no_leak() {
    for idle_ms in [Some(0), None] {
        let mut snapshot = empty();
        let busy = site(&mut snapshot, Kind::Sockets, 5_000);
        (0..120).for_each(|at| hold(&mut snapshot, busy, at * 30_000, idle_ms));
        let report = said(&snapshot, &Context::default());
        assert_eq!(verdicts(&report), [(Kind::Sockets, Verdict::Suspect)]);
        assert_eq!(report.findings[0].confidence, Some(0.5));
    }
}

#[test]
fn passed_descriptors_are_never_called_unused() {
    let mut snapshot = empty();
    let passed = site(&mut snapshot, Kind::Sockets, 5_000);
    leaks(&mut snapshot, passed);
    snapshot
        .descriptors
        .iter_mut()
        .for_each(|open| open.elsewhere = true);
    let report = said(&snapshot, &Context::default());
    assert_eq!(report.findings[0].verdict, Verdict::Suspect);
}

#[test]
fn heap_that_only_grows_may_be_a_cache() {
    let mut snapshot = empty();
    let grows = site(&mut snapshot, Kind::Memory, 0);
    let partly = site(&mut snapshot, Kind::Memory, 5_000);
    for site in [grows, partly] {
        let site = &mut snapshot.sites.all[site];
        site.stats.births += 120;
        (0..120).for_each(|at| site.live.add(at * 30_000, 10.0, 10_000_000.0));
    }
    let report = said(&snapshot, &Context::default());
    assert_eq!(
        verdicts(&report),
        [
            (Kind::Caches, Verdict::Growing),
            (Kind::Memory, Verdict::Suspect)
        ]
    );
    let cache = &report.findings[0];
    assert!(cache.id.starts_with("memory-"), "{}", cache.id);
    assert!(
        cache.summary.ends_with("may be a cache."),
        "{}",
        cache.summary
    );
    assert!(
        cache.summary.contains("memory runs out in"),
        "{}",
        cache.summary
    );
    let only = |kind| {
        let wanted = Wanted {
            kinds: vec![kind],
            ..Wanted::default()
        };
        find(&snapshot, &wanted, &Context::default()).0.len()
    };
    assert_eq!(
        (only(Kind::Memory), only(Kind::Caches), only(Kind::Files)),
        (2, 1, 0)
    );
}

#[test]
fn labels_and_earlier_looks_are_heeded() {
    let mut snapshot = empty();
    let leaky = site(&mut snapshot, Kind::Sockets, 5_000);
    leaks(&mut snapshot, leaky);
    let id = finding_id(Kind::Sockets, 1);
    let with = |labels: &[Label], looks: Looks| {
        let context = Context {
            looks,
            priors: &Unlearned,
            labels: labels.iter().map(|label| (id.clone(), *label)).collect(),
        };
        said(&snapshot, &context).findings[0].clone()
    };
    let ok = with(&[Label::Ok], Looks::default());
    assert_eq!((ok.verdict, ok.confidence), (Verdict::Held, None));
    let leak = with(&[Label::Leak], Looks::default());
    assert_eq!((leak.verdict, leak.confidence), (Verdict::Leak, Some(1.0)));
    let between = Looks {
        number: 4,
        counted: false,
        ..Looks::default()
    };
    assert_eq!(with(&[], between.clone()).verdict, Verdict::Early);
    let last = Looks {
        last: [(id.clone(), Verdict::Leak)].into(),
        ..between
    };
    assert_eq!(with(&[], last).count, 116);
}

#[test]
fn a_false_alarm_asks_for_more_looks() {
    #[derive(Debug)]
    struct Burnt;
    impl Priors for Burnt {
        fn of(&self, _: u64, _: Kind) -> Option<Prior> {
            Some(Prior {
                extra_looks: 2,
                ..Prior::default()
            })
        }
    }
    let mut snapshot = empty();
    let leaky = site(&mut snapshot, Kind::Sockets, 5_000);
    leaks(&mut snapshot, leaky);
    let at = |number| {
        let context = Context {
            looks: Looks {
                number,
                ..Looks::default()
            },
            priors: &Burnt,
            ..Context::default()
        };
        said(&snapshot, &context).findings[0].verdict
    };
    assert_eq!(
        [at(1), at(2), at(3)],
        [Verdict::Early, Verdict::Early, Verdict::Leak]
    );
}

/// What detection costs; `cargo test --release -p memguard --lib
/// twenty_thousand -- --ignored --nocapture` prints it.
#[test]
#[ignore = "prints a time"]
fn twenty_thousand_sites_and_a_hundred_thousand_descriptors() {
    let mut snapshot = empty();
    for at in 0..20_000 {
        let kind = [Kind::Sockets, Kind::Files, Kind::Memory][at % 3];
        let site = site(&mut snapshot, kind, (at % 50 * 10) as u64);
        for one in 0..5 {
            hold(
                &mut snapshot,
                site,
                (at * 7 + one * 700_000) as u64,
                Some(1_000_000),
            );
        }
    }
    let start = std::time::Instant::now();
    let (found, _) = find(&snapshot, &Wanted::default(), &Context::default());
    println!("{} findings in {:?}", found.len(), start.elapsed());
    assert!(found.len() > 10_000);
}

/// A program that hangs or is stopped holds what it was just working on, and
/// all of that grows old at once.
#[test]
fn a_standstill_is_no_leak() {
    let mut snapshot = empty();
    let busy = site(&mut snapshot, Kind::Sockets, 60_000);
    let stopped_ms = HOUR_MS - 600_000;
    snapshot.sites.all[busy].stats.points[0].at_ms = stopped_ms;
    for at in 0..20 {
        hold(
            &mut snapshot,
            busy,
            stopped_ms - 1_000 + at * 50,
            Some(600_000),
        );
    }
    let report = said(&snapshot, &Context::default());
    assert_eq!(verdicts(&report), [(Kind::Sockets, Verdict::Held)]);
}

/// All that a start makes is there at once; more would have come since.
#[test]
fn what_was_made_at_once_long_ago_is_held() {
    for (born_ms, verdict) in [(10_000, Verdict::Held), (HOUR_MS - 60_000, Verdict::Early)] {
        let mut snapshot = empty();
        let pool = site(&mut snapshot, Kind::Sockets, 0);
        let stats = &mut snapshot.sites.all[pool].stats;
        (stats.first_ms, stats.points) = (born_ms, vec![]);
        for at in 0..100 {
            hold(&mut snapshot, pool, born_ms + at, Some(10_000));
        }
        let report = said(&snapshot, &Context::default());
        assert_eq!(verdicts(&report), [(Kind::Sockets, verdict)]);
    }
}

/// The other end of the socket pushed last hangs up.
fn shut_last(snapshot: &mut Snapshot) -> &mut SocketFact {
    let last = snapshot.descriptors.last_mut();
    let fact = last.and_then(|open| open.fact.as_mut());
    let fact = fact.expect("just pushed");
    fact.blocked = Some(false);
    let socket = fact.socket.as_mut().expect("a socket");
    (socket.state, socket.send_queue) = (Some("CLOSE_WAIT".into()), Some(0));
    socket
}

/// The servers at the other ends hang up on idle connections of a pool, which
/// replaces them at its next use.
#[test]
fn a_pool_whose_peers_hung_up_is_no_leak() {
    let mut snapshot = empty();
    let pool = site(&mut snapshot, Kind::Sockets, 5_000);
    let shut = |snapshot: &mut Snapshot, born_ms| {
        hold(snapshot, pool, born_ms, Some(HOUR_MS - born_ms));
        let socket = shut_last(snapshot);
        socket.heard_ms = Some(HOUR_MS - born_ms);
    };
    (0..10).for_each(|at| shut(&mut snapshot, at * 1_000));
    let verdict = |snapshot: &Snapshot| verdicts(&said(snapshot, &Context::default()))[0].1;
    assert_eq!(verdict(&snapshot), Verdict::Held);
    // But where more and more are left so, they are forgotten.
    (1..20).for_each(|at| shut(&mut snapshot, at * 150_000));
    assert_eq!(verdict(&snapshot), Verdict::Leak);
}

/// Three every 0.8 s and one between, for six seconds, and nothing since: a look a
/// second later must not take back what the first one said.
#[test]
fn what_is_proven_does_not_depend_on_when_one_looks() {
    let mut snapshot = empty();
    let leaky = site(&mut snapshot, Kind::Sockets, 0);
    let begun_ms = HOUR_MS - 5_700;
    let stats = &mut snapshot.sites.all[leaky].stats;
    (stats.first_ms, stats.points) = (begun_ms, vec![]);
    let batches = (0..8).flat_map(|batch| [0, 30, 60].map(|at| batch * 800 + at));
    let mut births: Vec<u64> = batches.chain([400]).collect();
    births.sort_unstable();
    for born_ms in births.into_iter().map(|at| begun_ms + at) {
        hold(&mut snapshot, leaky, born_ms, None);
        let socket = shut_last(&mut snapshot);
        (socket.sent_ms, socket.heard_ms) = (Some(HOUR_MS - born_ms), Some(HOUR_MS - born_ms));
    }
    let wanted = Wanted {
        min_age: Some(Duration::from_secs(5)),
        ..Wanted::default()
    };
    let after = |later_ms| {
        let context = Context::default();
        close_wait::leaking(&snapshot, leaky, &wanted, &context, later_ms).len()
    };
    let said: Vec<bool> = (0..10).map(|second| after(second * 1_000) > 0).collect();
    assert!(said.is_sorted(), "{said:?}");
}

/// Clients that sent all of their request and closed that half wait for twelve
/// minutes and more, and ever more of them do.
#[test]
fn half_closed_clients_that_wait_for_long_are_no_leak() {
    let ask = |peer_waits| {
        let mut snapshot = empty();
        let server = site(&mut snapshot, Kind::Sockets, 5_000);
        for at in 0..60 {
            let born_ms = HOUR_MS - 720_000 - at * 40_000;
            hold(&mut snapshot, server, born_ms, Some(HOUR_MS - born_ms));
            let open = snapshot.descriptors.last_mut().expect("just pushed");
            let fact = open.fact.as_mut().expect("with a fact");
            fact.blocked = Some(false);
            let socket = fact.socket.as_mut().expect("a socket");
            (socket.state, socket.send_queue) = (Some("CLOSE_WAIT".into()), Some(0));
            (socket.heard_ms, socket.peer_waits) = (Some(HOUR_MS - born_ms), peer_waits);
        }
        verdicts(&said(&snapshot, &Context::default()))
    };
    assert_eq!(ask(true), [(Kind::Sockets, Verdict::Suspect)]);
    assert_eq!(
        ask(false)[0],
        (Kind::Sockets, Verdict::Leak),
        "they have gone"
    );
}
