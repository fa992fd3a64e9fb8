//! What the library's tables hold is what the reader says.

use crate::image::inspect::inspect;
use crate::image::plan::{
    DescriptorPlan, FDS, ModulePlan, Plan, SitePlan, THING_SECTIONS, ThingPlan,
};
use proptest::prelude::*;
use proptest::sample::select;
use shm_protocol::activity::TRAPPED;
use shm_protocol::closes::{BadClose, ROWS};
use shm_protocol::codes::Kind;
use shm_protocol::fds::FdInfo;
use shm_protocol::heap::HeapRow;
use shm_protocol::hist;
use shm_protocol::plain::{self, Plain};
use shm_protocol::view::SiteInfo;
use shm_protocol::weight::Class;
use shm_protocol::words::{Frame, MAX_SITES, Origin};
use std::collections::BTreeMap;

fn origin() -> impl Strategy<Value = Origin> {
    (0u64..1 << 40, 0..=MAX_SITES).prop_map(|(at_ms, site)| Origin { at_ms, site })
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (any::<u16>(), 0u64..1 << 40).prop_map(|(module, offset)| Frame::Native { module, offset }),
        (0u64..1 << 60).prop_map(Frame::Name),
        (0u64..1 << 60).prop_map(Frame::Raw),
    ]
}

fn site() -> impl Strategy<Value = SitePlan> {
    let frames = prop::collection::vec(frame(), 0..30);
    let births = prop::collection::vec(0u64..1 << 40, 0..70);
    (select(&Kind::ALL[..]), frames, births, 0usize..70).prop_map(
        |(kind, frames, births, deaths)| SitePlan {
            deaths: deaths.min(births.len()),
            kind,
            frames,
            births,
        },
    )
}

fn block() -> impl Strategy<Value = (u64, HeapRow)> {
    let address = (1u64..1 << 59).prop_map(|n| n << 4);
    let row = (
        origin(),
        0u64..1 << 48,
        0u8..16,
        0u16..1 << 12,
        any::<u32>(),
    );
    (address, row).prop_map(|(address, (origin, size_bytes, class, flags, thread))| {
        let row = HeapRow {
            origin,
            size_bytes,
            class,
            flags,
            thread,
        };
        (address, row)
    })
}

fn descriptor_kinds() -> Vec<Kind> {
    let all = Kind::ALL.into_iter();
    all.filter(|kind| kind.is_descriptor()).collect()
}

fn descriptor() -> impl Strategy<Value = DescriptorPlan> {
    let info = (
        origin(),
        select(descriptor_kinds()),
        any::<u8>(),
        prop::option::of(0u32..1 << 31),
    );
    let used_s = prop::option::of(0..TRAPPED - 1);
    (0..FDS as u32, info, any::<bool>(), used_s).prop_map(|(fd, info, closed, used_s)| {
        let (origin, kind, flags, source) = info;
        let info = FdInfo {
            origin,
            kind: kind as u8,
            flags,
            generation: 0,
            source,
        };
        DescriptorPlan {
            fd,
            info,
            closed,
            used_s,
        }
    })
}

fn bad_close() -> impl Strategy<Value = BadClose> {
    // A word of zeros is no earlier close.
    let earlier = prop::option::of(origin().prop_filter("a moment", |o| o.pack() != 0));
    (any::<u32>(), origin(), earlier, 0..=MAX_SITES).prop_map(|(fd, origin, earlier, made_site)| {
        BadClose {
            fd,
            origin,
            earlier,
            made_site,
        }
    })
}

/// Each key once: a table is told of no key twice.
fn things() -> impl Strategy<Value = Vec<ThingPlan>> {
    let row = (origin(), any::<u64>(), 0u64..1 << 40, any::<u8>());
    let plan = (select(&THING_SECTIONS[..]), row, any::<bool>());
    prop::collection::btree_map((1u32..1 << 31, 0u32..1 << 31), plan, 0..80).prop_map(|plans| {
        let one = |((high, low), (section, row, gone))| {
            let (origin, detail, used_ms, flags) = row;
            ThingPlan {
                section,
                key: plain::pair(high, low),
                row: Plain {
                    detail,
                    origin,
                    used_ms,
                    flags,
                },
                gone,
            }
        };
        plans.into_iter().map(one).collect()
    })
}

fn module() -> impl Strategy<Value = ModulePlan> {
    let build_id = prop::collection::vec(any::<u8>(), 0..=24);
    ("/[a-zé ]{0,40}", build_id, any::<bool>(), 0u64..1 << 47).prop_map(
        |(path, build_id, loaded, bias)| ModulePlan {
            path,
            build_id,
            loaded,
            bias,
        },
    )
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![
        Just(Class::All),
        (1u64..1 << 40).prop_map(Class::Bytes),
        (1u32..=1_000_000_000).prop_map(Class::Rate),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let text = prop::collection::vec("[a-z=-]{1,20}", 0..5);
    let settings = prop::collection::vec(("[A-Z_]{1,20}", "[a-z0-9=]{0,20}"), 0..4);
    let start = (
        text,
        "/[a-z]{0,30}",
        settings,
        prop::collection::vec(class(), 0..16),
    );
    let rows = (
        prop::collection::vec(module(), 0..6),
        prop::collection::vec(site(), 0..12),
        prop::collection::btree_map(block().prop_map(|b| b.0), block().prop_map(|b| b.1), 0..300),
        prop::collection::vec(descriptor(), 0..60),
        prop::collection::vec(bad_close(), 0..ROWS),
        things(),
    );
    (start, rows).prop_map(
        |(start, (modules, sites, blocks, descriptors, bad_closes, things))| Plan {
            cmdline: start.0,
            executable: start.1,
            settings: start.2,
            classes: start.3,
            modules,
            sites,
            blocks: blocks.into_iter().collect(),
            descriptors,
            bad_closes,
            things,
            events: 0,
        },
    )
}

/// What the reader must say of a site, counted from the plan alone but for the
/// checkpoints.
fn expected_site(id: usize, plan: &SitePlan, points: &[[u64; 3]], found: &SiteInfo) {
    let (births, dead) = (&plan.births, &plan.births[..plan.deaths]);
    // The library weighs only what has a size.
    let sized = |list: &[u64]| list.iter().filter(|bytes| **bytes != 0).count() as f64;
    let sum = |list: &[u64]| list.iter().sum::<u64>();
    assert_eq!((found.id as usize, found.kind), (id, plan.kind));
    assert_eq!(found.frames, plan.frames);
    assert_eq!(found.births as usize, births.len());
    assert_eq!(found.deaths as usize, dead.len());
    assert_eq!(
        (found.bytes_born, found.est_bytes_born),
        (sum(births), sum(births))
    );
    assert_eq!(
        (found.bytes_died, found.est_bytes_died),
        (sum(dead), sum(dead))
    );
    assert_eq!(
        (found.est_births, found.est_deaths),
        (sized(births), sized(dead))
    );
    let life_ms = |second: usize| (births.len() - second) as u64 * 1000;
    let mut lifetimes = [0; hist::BUCKETS];
    (0..dead.len()).for_each(|second| lifetimes[hist::bucket(life_ms(second))] += 1);
    assert_eq!(found.lifetimes, lifetimes);
    let longest_ms = if dead.is_empty() { 0 } else { life_ms(0) };
    assert_eq!(found.longest_ms, longest_ms);
    let seen = found.points.iter().map(|p| [p.at_ms, p.births, p.deaths]);
    assert_eq!(seen.collect::<Vec<_>>(), points);
}

/// The descriptors that the plan leaves open, by number.
fn open_at_the_end(plan: &Plan) -> BTreeMap<u32, (FdInfo, Option<u32>)> {
    let mut open = BTreeMap::new();
    let mut generations = BTreeMap::<u32, u16>::new();
    for row in &plan.descriptors {
        let generation = generations.entry(row.fd).or_default();
        *generation += 1;
        let info = FdInfo {
            generation: *generation,
            ..row.info
        };
        let has_stamp = (row.fd as usize) < FDS / 2;
        open.insert(row.fd, (info, row.used_s.filter(|_| has_stamp)));
        if row.closed {
            open.remove(&row.fd);
        }
    }
    open
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read_back(plan in plan()) {
        let written = plan.write();
        let found = inspect(&written.bytes).unwrap();
        prop_assert_eq!((found.torn, found.refused, found.cut_rows), (0, 0, 0));
        prop_assert_eq!(&found.header.cmdline, &plan.cmdline);
        prop_assert_eq!(&found.header.executable, &plan.executable);
        for (i, class) in found.header.classes.iter().enumerate() {
            prop_assert_eq!(*class, plan.classes.get(i).copied());
        }
        prop_assert_eq!(&found.settings, &plan.settings);
        prop_assert_eq!(found.modules.len(), plan.modules.len());
        for (seen, module) in found.modules.iter().zip(&plan.modules) {
            prop_assert_eq!((&seen.path, &seen.build_id), (&module.path, &module.build_id));
            prop_assert_eq!((seen.loaded, seen.bias), (module.loaded, module.bias));
        }
        prop_assert_eq!(found.sites.len(), plan.sites.len());
        for (i, (seen, site)) in found.sites.iter().zip(&plan.sites).enumerate() {
            expected_site(i + 1, site, &written.points[i], seen);
        }
        let mut blocks: Vec<_> = found.blocks.iter().map(|b| (b.address, b.row)).collect();
        blocks.sort_unstable_by_key(|(address, _)| *address);
        prop_assert_eq!(&blocks, &written.blocks);
        let open: BTreeMap<_, _> = found.descriptors.iter().map(|d| (d.fd, (d.info, d.used_s))).collect();
        prop_assert_eq!(open, open_at_the_end(&plan));
        let mut closes = plan.bad_closes.clone();
        closes.sort_by_key(|close| close.origin.at_ms);
        prop_assert_eq!(&found.bad_closes, &closes);
        let mut things: Vec<_> = found.things.iter().map(|t| (t.key, t.row)).collect();
        let mut there: Vec<_> = written.things.iter().map(|t| (t.key, t.row)).collect();
        things.sort_unstable_by_key(|(key, _)| *key);
        there.sort_unstable_by_key(|(key, _)| *key);
        prop_assert_eq!(things, there);
    }
}
