//! Whatever was learned, a verdict is never harder for it.

use proptest::prelude::*;
use shm_protocol::hist::{BUCKETS, bucket};
use shm_protocol::view::PointInfo;

use super::Known;
use super::program::{Lesson, Program};
use crate::detect::{Looks, Offsets, Wanted, finding_id, report};
use crate::model::{Kind, Verdict};
use crate::snapshot::{Descriptor, Facts, FdFact, Live, Site, Snapshot, SocketFact, Stats};

const MOMENT_MS: u64 = 2 * 3_600_000;

/// A connection that nobody has used since it was made.
fn idle_socket(born_ms: u64) -> Descriptor {
    let idle_ms = Some(MOMENT_MS - born_ms);
    let socket = SocketFact {
        state: Some("ESTABLISHED".into()),
        sent_ms: idle_ms,
        received_ms: idle_ms,
        ..SocketFact::default()
    };
    Descriptor {
        kind: Some(Kind::Sockets),
        born_ms: Some(born_ms),
        origin_known: true,
        fact: Some(FdFact {
            socket: Some(socket),
            ..FdFact::default()
        }),
        ..Descriptor::default()
    }
}

/// A site that closes most of what it makes, and keeps the rest.
fn snapshot(held: u64, lives_ms: &[u64]) -> Snapshot {
    let mut snapshot = Snapshot::build(Facts::default(), &[], None, "").unwrap();
    let births: Vec<u64> = (0..held).map(|n| n * MOMENT_MS / held).collect();
    snapshot.descriptors = births.iter().map(|born| idle_socket(*born)).collect();
    let (mut live, mut lifetimes) = (Live::default(), [0; BUCKETS]);
    births.iter().for_each(|born| live.add(*born, 1.0, 0.0));
    live.descriptors = (0..births.len()).collect();
    lives_ms.iter().for_each(|ms| lifetimes[bucket(*ms)] += 1);
    let deaths = lives_ms.len() as u64;
    let point = |part: u64| PointInfo {
        at_ms: part * MOMENT_MS / 24,
        births: part * (held + deaths) / 24,
        deaths: part * deaths / 24,
    };
    snapshot.sites.all.push(Site {
        kind: Some(Kind::Sockets),
        frames: vec![],
        key: 1,
        stats: Stats {
            first_ms: 0,
            births: held + deaths,
            deaths,
            est_births: 0.0,
            longest_ms: lives_ms.iter().copied().max().unwrap_or(0),
            lifetimes,
            points: (1..=24).map(point).collect(),
        },
        live,
    });
    snapshot.process.instrumented = true;
    (snapshot.moment_ms, snapshot.process.alive) = (MOMENT_MS, true);
    snapshot.facts.alive = true;
    snapshot
}

fn verdict(snapshot: &Snapshot, program: &Program, look: u32) -> Option<Verdict> {
    let known = Known {
        looks: Looks {
            number: look,
            ..Looks::default()
        },
        program: program.clone(),
        ..Known::default()
    };
    report(snapshot, &Wanted::default(), &known.context(), &mut Offsets).worst()
}

fn taught(lessons: &[Lesson]) -> Program {
    let mut program = Program {
        run: 1,
        ..Program::default()
    };
    for lesson in lessons {
        program.learn(&finding_id(Kind::Sockets, 1), lesson);
        program.run += 1;
    }
    program
}

fn lesson() -> impl Strategy<Value = Lesson> {
    let numbers = (1..MOMENT_MS, 1_u64..500, 0..MOMENT_MS);
    (numbers, 0_u64..200, 0_u64..3).prop_map(|((ms, count, gap), plateau, false_alarms)| Lesson {
        lives: [(bucket(ms) as u8, count)].into(),
        longest_ms: ms,
        woken_gap_ms: gap,
        plateau: Some(plateau),
        false_alarms,
        ..Lesson::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_was_learned_accuses_nobody(
        held in 0_u64..80,
        lives in proptest::collection::vec(1_u64..20_000, 0..300),
        lessons in proptest::collection::vec(lesson(), 1..6),
        look in 1_u32..6,
    ) {
        let snapshot = snapshot(held, &lives);
        let before = verdict(&snapshot, &Program::default(), look);
        let after = verdict(&snapshot, &taught(&lessons), look);
        let accused = |verdict: Option<Verdict>| verdict.is_some_and(|worst| worst < Verdict::Early);
        prop_assert!(accused(before) || !accused(after), "{before:?} became {after:?}");
        let leak = Some(Verdict::Leak);
        prop_assert!(before == leak || after != leak, "{before:?} became {after:?}");
    }
}

#[test]
fn an_accusation_is_dropped_for_what_an_earlier_run_closed_itself() {
    let lives: Vec<u64> = (0..300).map(|n| 10 + n).collect();
    let snapshot = snapshot(60, &lives);
    assert_eq!(
        verdict(&snapshot, &Program::default(), 1),
        Some(Verdict::Leak)
    );
    let long = |longest_ms| Lesson {
        lives: [(bucket(longest_ms) as u8, 50)].into(),
        longest_ms,
        ..Lesson::default()
    };
    assert_ne!(
        verdict(&snapshot, &taught(&[long(MOMENT_MS)]), 1),
        Some(Verdict::Leak)
    );
    let alarmed = Lesson {
        false_alarms: 1,
        ..Lesson::default()
    };
    let alarmed = taught(&[alarmed]);
    let looks: Vec<Option<Verdict>> = (1..=3)
        .map(|look| verdict(&snapshot, &alarmed, look))
        .collect();
    let (early, leak) = (Some(Verdict::Early), Some(Verdict::Leak));
    assert_eq!(looks, [early, early, leak]);
}
