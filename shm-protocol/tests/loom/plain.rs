//! A window of rows found by key: whoever removes a row gets that row, a late
//! use spoils no newer one, and of two events that cancel each other none is
//! left over.

use crate::{explore, spawn};
use loom::sync::Arc;
use shm_protocol::heap::Inserted;
use shm_protocol::plain::{self, MARK, Plain, PlainRow};
use shm_protocol::sync::{AtomicU64, Ordering};
use shm_protocol::words::Origin;

const A: u64 = 0xA000;
const B: u64 = 0xB000;

fn row(key: u64) -> Plain {
    Plain {
        origin: Origin {
            at_ms: (key & !MARK) * 3,
            site: key as u32 + 1,
        },
        ..Plain::default()
    }
}

/// Two rows are enough: a window is searched from its start.
fn window() -> [PlainRow; 2] {
    [PlainRow::default(), PlainRow::default()]
}

fn live_and_die(window: &[PlainRow], key: u64) {
    assert_eq!(plain::insert(window, key, &row(key)), Inserted::Done);
    assert_eq!(plain::remove(window, key), Some(Some(row(key))));
}

#[test]
fn each_removal_takes_its_own_row() {
    explore(4, || {
        let shared = Arc::new(window());
        let other = spawn(&shared, |window| live_and_die(window, B));
        live_and_die(&*shared, A);
        other.join().unwrap();
    });
}

#[test]
fn two_removals_count_once() {
    explore(4, || {
        let window = window();
        plain::insert(&window, A, &row(A));
        let shared = Arc::new(window);
        let other = spawn(&shared, |window| plain::remove(window, A));
        let taken = [plain::remove(&*shared, A), other.join().unwrap()];
        let taken: Vec<_> = taken.into_iter().flatten().collect();
        assert_eq!(taken, [Some(row(A))]);
    });
}

/// A row is removed and its place given to another key while somebody notes a
/// use of the first.
#[test]
fn a_late_use_spoils_no_newer_row() {
    explore(4, || {
        let window = [PlainRow::default()];
        plain::insert(&window, A, &row(A));
        let shared = Arc::new(window);
        let other = spawn(&shared, |window| {
            plain::touch(window, A, 99, |flags| flags | 1)
        });
        assert!(plain::remove(&*shared, A).flatten().is_some());
        assert_eq!(plain::insert(&*shared, B, &row(B)), Inserted::Done);
        other.join().unwrap();
        assert_eq!(plain::find(&*shared, B), Some(row(B)));
    });
}

/// A thread ends while another detaches it: neither row may stay.
#[test]
fn what_cancels_out_leaves_nothing() {
    explore(4, || {
        let shared = Arc::new((window(), AtomicU64::new(0)));
        let enter = |window: &[PlainRow], mine: u64, removed: &AtomicU64| {
            assert_eq!(plain::insert(window, mine, &row(mine)), Inserted::Done);
            plain::before_looking_for_the_twin();
            if plain::remove(window, mine ^ MARK).is_some() {
                removed.fetch_add(1, Ordering::Relaxed);
                let again = plain::remove(window, mine).is_some();
                removed.fetch_add(u64::from(again), Ordering::Relaxed);
            }
        };
        let other = spawn(&shared, move |(window, removed)| {
            enter(window, A | MARK, removed)
        });
        enter(&shared.0, A, &shared.1);
        other.join().unwrap();
        let left = [A, A | MARK].map(|key| plain::find(&shared.0, key));
        assert_eq!(left, [None, None]);
        assert_eq!(shared.1.load(Ordering::Relaxed), 2);
    });
}
