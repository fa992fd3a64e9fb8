//! A bucket of live blocks: whoever removes a block gets that block's own row,
//! whatever others insert, remove or take over at the same time.

use crate::{explore, spawn};
use loom::sync::Arc;
use shm_protocol::heap::{HeapBucket, HeapRow, Inserted, ROWS};
use shm_protocol::sync::{AtomicU64, Ordering};
use shm_protocol::words::Origin;

const A: u64 = 0xA000;
const B: u64 = 0xB000;

/// A row that differs from another address's row in every word.
fn row(address: u64) -> HeapRow {
    HeapRow {
        origin: Origin {
            at_ms: address * 3,
            site: address as u32 + 1,
        },
        size_bytes: address * 7,
        thread: address as u32,
        ..HeapRow::default()
    }
}

/// A bucket in which only `free` slots are left.
fn crowded(free: usize) -> HeapBucket {
    let bucket = HeapBucket::default();
    for slot in 0..ROWS - free {
        let address = (slot as u64 + 1) << 32;
        assert_eq!(bucket.insert(address, &row(address)), Inserted::Done);
    }
    bucket
}

#[test]
fn each_removal_takes_its_own_row() {
    explore(5, || {
        let bucket = Arc::new(HeapBucket::default());
        let other = spawn(&bucket, |bucket| live_and_die(bucket, B));
        live_and_die(&bucket, A);
        other.join().unwrap();
        assert_eq!((bucket.remove(A), bucket.remove(B)), (None, None));
    });
}

fn live_and_die(bucket: &HeapBucket, address: u64) {
    assert_eq!(bucket.insert(address, &row(address)), Inserted::Done);
    assert_eq!(bucket.remove(address), Some(Some(row(address))));
}

#[test]
fn a_block_freed_by_another_thread_is_found() {
    explore(5, || {
        let shared = Arc::new((HeapBucket::default(), AtomicU64::new(0)));
        let maker = spawn(&shared, |(bucket, given)| {
            assert_eq!(bucket.insert(A, &row(A)), Inserted::Done);
            given.store(1, Ordering::Release);
            live_and_die(bucket, B);
        });
        let (bucket, given) = &*shared;
        let was_given = given.load(Ordering::Acquire) == 1;
        let taken = if was_given { bucket.remove(A) } else { None };
        maker.join().unwrap();
        if was_given {
            assert_eq!(taken, Some(Some(row(A))));
        }
        assert_eq!(bucket.remove(A).is_some(), !was_given);
    });
}

#[test]
fn two_frees_of_one_block_count_once() {
    explore(5, || {
        let bucket = HeapBucket::default();
        assert_eq!(bucket.insert(A, &row(A)), Inserted::Done);
        let bucket = Arc::new(bucket);
        let other = spawn(&bucket, |bucket| bucket.remove(A));
        let taken = [bucket.remove(A), other.join().unwrap()];
        let taken: Vec<_> = taken.into_iter().flatten().collect();
        assert_eq!(taken, [Some(row(A))]);
    });
}

#[test]
fn a_reader_sees_a_whole_row_or_none() {
    explore(5, || {
        let bucket = HeapBucket::default();
        assert_eq!(bucket.insert(A, &row(A)), Inserted::Done);
        let bucket = Arc::new(bucket);
        let writer = spawn(&bucket, |bucket| {
            assert_eq!(bucket.remove(A), Some(Some(row(A))));
            assert_eq!(bucket.insert(B, &row(B)), Inserted::Done);
        });
        for address in [A, B] {
            let seen = bucket.find(address);
            assert!(seen.is_none() || seen == Some(row(address)), "{seen:?}");
        }
        writer.join().unwrap();
    });
}

/// Two writers want the last slot; the second may take it over half-written.
#[test]
fn a_row_taken_over_is_lost_only_when_counted_lost() {
    explore(4, || {
        let bucket = Arc::new(crowded(1));
        let other = spawn(&bucket, |bucket| (B, insert_at_any_price(bucket, B)));
        let ends = [(A, insert_at_any_price(&bucket, A)), other.join().unwrap()];
        let lost = ends.iter().any(|(_, end)| *end == Inserted::Lost);
        let done = ends
            .iter()
            .filter(|(_, end)| *end == Inserted::Done)
            .count();
        assert_eq!(done, 1, "one slot holds one row: {ends:?}");
        for (address, end) in ends {
            let taken = bucket.remove(address);
            assert_eq!(taken.is_some(), end == Inserted::Done, "{ends:?}");
            // Torn only where a loser's late words may have hit it.
            let own = taken == Some(Some(row(address)));
            assert!(own || taken.is_none() || (lost && taken == Some(None)));
        }
    });
}

fn insert_at_any_price(bucket: &HeapBucket, address: u64) -> Inserted {
    match bucket.insert(address, &row(address)) {
        Inserted::Full => bucket.insert_over_odd(address, &row(address)),
        end => end,
    }
}

/// The loser of a take-over writes its words late, over whoever has the slot.
#[test]
fn a_late_loser_tears_rows_but_misleads_nobody() {
    explore(4, || {
        let bucket = Arc::new(crowded(1));
        let other = spawn(&bucket, |bucket| bucket.insert(A, &row(A)));
        if bucket.insert_over_odd(B, &row(B)) == Inserted::Done {
            let taken = bucket.remove(B);
            assert!(matches!(taken, Some(None)) || taken == Some(Some(row(B))));
        }
        let end = other.join().unwrap();
        let taken = bucket.remove(A);
        assert_eq!(taken.is_some(), end == Inserted::Done);
        assert!(taken.flatten().is_none_or(|found| found == row(A)));
        assert_eq!(bucket.remove(B), None);
    });
}
