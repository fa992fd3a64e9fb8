//! Sites: one id for one stack, one winner for one checkpoint.

use crate::{explore, spawn};
use loom::sync::Arc;
use shm_protocol::sites::{Amount, Lookup, POINTS, Site, enter, look_up};
use shm_protocol::sync::{AtomicU64, Ordering};

const HASH: u64 = 0xABCD_EF01_2345_6789;
const OTHER: u64 = 0x1234_5678_9ABC_DEF0;

/// Looks a hash up and enters it as `site` if it is new.
fn find_or_enter(window: &[AtomicU64], hash: u64, site: u32) -> Option<u32> {
    match look_up(window, hash) {
        Lookup::Found(id) => Some(id),
        Lookup::Free(from) => enter(window, from, hash, site),
        Lookup::Full => None,
    }
}

fn window(slots: usize) -> Arc<Vec<AtomicU64>> {
    Arc::new((0..slots).map(|_| AtomicU64::new(0)).collect())
}

#[test]
fn two_threads_with_one_stack_get_one_id() {
    explore(5, || {
        let window = window(2);
        let other = spawn(&window, |window| find_or_enter(window, HASH, 5));
        let third = spawn(&window, |window| find_or_enter(window, OTHER, 7));
        let ids = [find_or_enter(&window, HASH, 6), other.join().unwrap()];
        assert!(ids == [Some(5); 2] || ids == [Some(6); 2], "{ids:?}");
        assert_eq!(third.join().unwrap(), Some(7));
        assert_eq!(look_up(&window, HASH), Lookup::Found(ids[0].unwrap()));
        assert_eq!(look_up(&window, OTHER), Lookup::Found(7));
    });
}

#[test]
fn a_window_too_small_for_all_gives_no_two_of_them_one_id() {
    explore(5, || {
        let window = window(1);
        let other = spawn(&window, |window| find_or_enter(window, OTHER, 7));
        let ids = [find_or_enter(&window, HASH, 6), other.join().unwrap()];
        assert!(ids == [Some(6), None] || ids == [None, Some(7)], "{ids:?}");
    });
}

/// Who finds a site by its slot sees all that defines it.
#[test]
fn a_site_found_is_a_site_defined() {
    explore(5, || {
        let shared = Arc::new((Site::default(), [AtomicU64::new(0)]));
        let maker = spawn(&shared, |(site, window)| {
            site.define(HASH, 16, 99, 3, 7);
            assert_eq!(find_or_enter(window, HASH, 1), Some(1));
        });
        let (site, window) = &*shared;
        if let Lookup::Found(1) = look_up(window, HASH) {
            let words = [&site.hash, &site.shape, &site.stack, &site.first_ms];
            let seen = words.map(|word| word.load(Ordering::Relaxed));
            assert_eq!(seen, [HASH, 16 | 3 << 8, 99, 7]);
        }
        maker.join().unwrap();
    });
}

fn points(site: &Site) -> Vec<[u64; 3]> {
    let used = site.steps.load(Ordering::Relaxed) & 0xFFFF;
    let words = site.points.iter().map(|point| {
        [&point.at_ms, &point.births, &point.deaths].map(|word| word.load(Ordering::Relaxed))
    });
    words.take(used as usize).collect()
}

#[test]
fn one_of_two_writes_the_checkpoint() {
    explore(5, || {
        let site = Site::default();
        site.define(HASH, 16, 0, 0, 0);
        let site = Arc::new(site);
        let other = spawn(&site, |site| site.born(Amount::ONE, 1000));
        site.born(Amount::ONE, 1500);
        other.join().unwrap();
        let found = points(&site);
        assert_eq!(found.len(), 1, "{found:?}");
        let [at_ms, births, deaths] = found[0];
        assert!([1000, 1500].contains(&at_ms) && (1..=2).contains(&births));
        assert_eq!((deaths, site.births.load(Ordering::Relaxed)), (0, 2));
    });
}

/// No checkpoint counts a death whose birth it does not count.
#[test]
fn a_checkpoint_never_has_more_deaths_than_births() {
    explore(5, || {
        let site = Site::default();
        site.define(HASH, 16, 0, 0, 0);
        let site = Arc::new(site);
        let other = spawn(&site, |site| {
            for _ in 0..2 {
                site.born(Amount::ONE, 1);
                site.died(Amount::ONE, 1, 2);
            }
        });
        site.born(Amount::ONE, 1000);
        other.join().unwrap();
        let found = points(&site);
        assert!(found[0][1] >= found[0][2], "{found:?}");
    });
}

#[test]
fn one_of_two_thins_a_full_history() {
    explore(5, || {
        let site = Site::default();
        site.define(HASH, 16, 0, 0, 0);
        let full = POINTS as u64;
        (1..=full).for_each(|second| site.born(Amount::ONE, second * 1000));
        let site = Arc::new(site);
        let next_ms = (full + 1) * 1000;
        let other = spawn(&site, move |site| site.born(Amount::ONE, next_ms));
        site.born(Amount::ONE, next_ms);
        other.join().unwrap();
        let found = points(&site);
        assert_eq!(found.len(), POINTS / 2 + 1);
        let kept = &found[..POINTS / 2];
        assert!(
            kept.iter()
                .all(|[at_ms, births, _]| *at_ms == births * 1000)
        );
        assert_eq!(found[POINTS / 2][0], next_ms);
    });
}
