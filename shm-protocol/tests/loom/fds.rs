//! A descriptor's row: closers count once, and nobody sees two rows mixed.

use crate::{explore, spawn};
use loom::sync::Arc;
use shm_protocol::fds::{FdInfo, FdRow, Removed};
use shm_protocol::sync::{AtomicU64, Ordering};
use shm_protocol::words::Origin;

const FD: u32 = 7;

/// The `nth` descriptor that the number names.
fn info(nth: u16) -> FdInfo {
    FdInfo {
        origin: Origin {
            at_ms: 1000 * u64::from(nth),
            site: 100 + u32::from(nth),
        },
        kind: 16 + nth as u8,
        flags: 0,
        generation: nth,
        source: Some(u32::from(nth)),
    }
}

fn opened() -> FdRow {
    let row = FdRow::default();
    assert!(!row.insert(FD, &info(1)));
    row
}

#[test]
fn two_closers_count_once() {
    explore(5, || {
        let row = Arc::new(opened());
        let other = spawn(&row, |row| row.remove(FD));
        let taken = [row.remove(FD), other.join().unwrap()];
        assert!(taken.contains(&Removed::Row(info(1))) && taken.contains(&Removed::Free));
        assert_eq!(row.read(FD), None);
    });
}

/// The program closes a number while that is being closed on its behalf: one
/// of the two makes the call, or the number would be closed twice.
#[test]
fn a_claimed_number_is_closed_by_one_of_the_two() {
    explore(5, || {
        let shared = Arc::new((opened(), AtomicU64::new(0)));
        let executor = spawn(&shared, |(row, closes)| {
            if row.claim(FD, &info(1)) {
                closes.fetch_add(1, Ordering::Relaxed);
                row.release(&info(1));
            }
        });
        let (row, closes) = &*shared;
        // After the release a close finds nothing open, as it should.
        if matches!(row.remove(FD), Removed::Row(_)) {
            closes.fetch_add(1, Ordering::Relaxed);
        }
        executor.join().unwrap();
        assert_eq!(closes.load(Ordering::Relaxed), 1);
        assert_eq!(row.remove(FD), Removed::Free);
    });
}

#[test]
fn a_number_opened_after_its_close_has_the_new_row() {
    explore(5, || {
        let shared = Arc::new((opened(), AtomicU64::new(0)));
        let closer = spawn(&shared, |(row, free)| {
            assert_eq!(row.remove(FD), Removed::Row(info(1)));
            // close(2): from here on the kernel may give the number out again.
            free.store(1, Ordering::Release);
        });
        let (row, free) = &*shared;
        let reopened = free.load(Ordering::Acquire) == 1;
        if reopened {
            assert!(!row.insert(FD, &info(2)), "the close came first");
        }
        closer.join().unwrap();
        assert_eq!(row.read(FD), reopened.then(|| info(2)));
    });
}

#[test]
fn a_reader_sees_one_row_or_none() {
    explore(5, || {
        let row = Arc::new(opened());
        let writer = spawn(&row, |row| {
            assert_eq!(row.remove(FD), Removed::Row(info(1)));
            assert!(!row.insert(FD, &info(2)));
        });
        let seen = row.read(FD);
        assert!(
            [None, Some(info(1)), Some(info(2))].contains(&seen),
            "{seen:?}"
        );
        writer.join().unwrap();
    });
}

/// A close that no hook saw: the next open writes over the row.
#[test]
fn a_reader_of_a_row_written_over_sees_one_or_none() {
    explore(5, || {
        let row = Arc::new(opened());
        let writer = spawn(&row, |row| assert!(row.insert(FD, &info(2))));
        let seen = row.read(FD);
        assert!(
            [None, Some(info(1)), Some(info(2))].contains(&seen),
            "{seen:?}"
        );
        writer.join().unwrap();
    });
}

#[test]
fn a_flag_never_brings_a_closed_row_back() {
    explore(5, || {
        let row = Arc::new(opened());
        let marker = spawn(&row, |row| row.mark(FD, 4));
        let Removed::Row(taken) = row.remove(FD) else {
            panic!("it was open and whole");
        };
        assert!(
            taken == info(1)
                || taken
                    == FdInfo {
                        flags: 4,
                        ..info(1)
                    }
        );
        marker.join().unwrap();
        assert_eq!(row.read(FD), None);
    });
}

/// A close fails while another thread is given the number.
///
/// Which row stands in the end is a matter of the unit tests: loom lets a swap
/// and a plain store of one word end in either order, whatever the swap read.
#[test]
fn a_failed_close_never_mixes_with_a_newer_row() {
    explore(5, || {
        let row = Arc::new(opened());
        let opener = spawn(&row, |row| {
            row.insert(FD, &info(2));
        });
        if let Removed::Row(taken) = row.remove(FD) {
            row.restore(FD, &taken);
        }
        opener.join().unwrap();
        let found = row.read(FD);
        assert!([None, Some(info(1)), Some(info(2))].contains(&found));
    });
}
