//! Descriptors, found by number.
//!
//! One row a number. A row lives while its kind is not 0; whoever clears the
//! kind by the atomic `and` of [`FdRow::remove`] owns that removal, so two
//! closers of one number count it once. The state word is released last; its
//! check covers what else a reader takes from the row, so that old and new
//! words together read as torn.

use crate::sync::{AtomicU64, Ordering};
use crate::words::{Origin, check16};

/// The four words of a descriptor row.
#[repr(C)]
#[derive(Debug)]
pub struct FdRow {
    /// Origin of the live descriptor.
    pub origin: AtomicU64,
    /// Kind (8 bits), flags (8), generation (16), check of all other words but
    /// `closed` (16), zero (16), from the top. The last bit of a free row says
    /// that the number is being closed on the program's behalf.
    pub state: AtomicU64,
    /// Origin of the last close of this number: when, and at which site.
    pub closed: AtomicU64,
    /// Duplicates: the number they are a duplicate of, plus one. Else 0.
    pub source: AtomicU64,
}

/// What is known of an open descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FdInfo {
    /// When it was made, and at which site.
    pub origin: Origin,
    /// `Kind` as a number; 0 is none.
    pub kind: u8,
    /// `fd_flag` bits.
    pub flags: u8,
    /// Counts what this number has named, modulo 65 536.
    pub generation: u16,
    /// For duplicates, the number it came from.
    pub source: Option<u32>,
}

const KIND_SHIFT: u32 = 56;
const FLAGS_SHIFT: u32 = 48;
const GENERATION_SHIFT: u32 = 32;
const CHECK_SHIFT: u32 = 16;
const GENERATION_MASK: u64 = 0xFFFF << GENERATION_SHIFT;
/// Kind, flags and generation.
const HEAD_MASK: u64 = u64::MAX << GENERATION_SHIFT;
const CLAIMED: u64 = 1;

/// What a removal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// The row, which is the caller's now.
    Row(FdInfo),
    /// A row whose words did not belong together.
    Torn,
    /// None.
    Free,
    /// None, and the number is right now being closed on the program's behalf:
    /// whoever else closes it as well may hit its next holder.
    Claimed,
}

fn pack_state(fd: u32, origin: u64, source: u64, info: &FdInfo) -> u64 {
    let head = u64::from(info.kind) << KIND_SHIFT
        | u64::from(info.flags) << FLAGS_SHIFT
        | u64::from(info.generation) << GENERATION_SHIFT;
    head | check_of(fd, origin, source, head)
}

/// The check of a row's other words, at its place in the state.
fn check_of(fd: u32, origin: u64, source: u64, head: u64) -> u64 {
    let id = u64::from(fd) ^ source.rotate_left(32);
    u64::from(check16(id, origin, head)) << CHECK_SHIFT
}

fn pack_source(source: Option<u32>) -> u64 {
    source.map_or(0, |fd| u64::from(fd) + 1)
}

/// Unpacks the words of a row, or nothing when it is torn. A free row gives
/// kind 0.
pub fn unpack(fd: u32, origin: u64, state: u64, source: u64) -> Option<FdInfo> {
    let info = FdInfo {
        origin: Origin::unpack(origin),
        kind: (state >> KIND_SHIFT) as u8,
        flags: (state >> FLAGS_SHIFT) as u8,
        generation: (state >> GENERATION_SHIFT) as u16,
        source: source
            .checked_sub(1)
            .and_then(|number| u32::try_from(number).ok()),
    };
    let whole = pack_state(fd, origin, source, &info) == state;
    (whole || info.kind == 0).then_some(info)
}

#[cold]
fn not_there(state: u64) -> Removed {
    if state & CLAIMED == 0 {
        Removed::Free
    } else {
        Removed::Claimed
    }
}

impl FdRow {
    /// Writes the row of `fd`. True when a live row stood in the way: its
    /// removal had been missed.
    pub fn insert(&self, fd: u32, info: &FdInfo) -> bool {
        let before = self.state.load(Ordering::Relaxed);
        let generation = (before >> GENERATION_SHIFT) as u16;
        let (origin, source) = (info.origin.pack(), pack_source(info.source));
        self.origin.store(origin, Ordering::Relaxed);
        self.source.store(source, Ordering::Relaxed);
        let info = FdInfo {
            generation: generation.wrapping_add(1),
            ..*info
        };
        let state = pack_state(fd, origin, source, &info);
        self.state.store(state, Ordering::Release);
        before >> KIND_SHIFT != 0
    }

    /// Whether nothing is open here.
    pub fn is_free(&self) -> bool {
        self.state.load(Ordering::Relaxed) >> KIND_SHIFT == 0
    }

    /// Whether the number has named anything so far; what it names last has
    /// left its origin and source.
    pub fn was_held(&self) -> bool {
        self.origin.load(Ordering::Relaxed) != 0
    }

    /// Takes the row out.
    #[inline(always)]
    pub fn remove(&self, fd: u32) -> Removed {
        let before = self.state.load(Ordering::Acquire);
        if before >> KIND_SHIFT == 0 {
            return not_there(before);
        }
        let origin = self.origin.load(Ordering::Relaxed);
        let source = self.source.load(Ordering::Relaxed);
        // The low bit of a live row is 0; one claimed meanwhile stays so.
        let state = self
            .state
            .fetch_and(GENERATION_MASK | CLAIMED, Ordering::AcqRel);
        if state >> KIND_SHIFT == 0 {
            return not_there(state);
        }
        unpack(fd, origin, state, source).map_or(Removed::Torn, Removed::Row)
    }

    /// Takes a row out if it is whole and nobody else is at it: its origin and
    /// kind. Else it leaves everything as it is, to [`FdRow::remove`].
    #[inline(always)]
    pub fn remove_whole(&self, fd: u32) -> Option<(Origin, u8)> {
        let state = self.state.load(Ordering::Acquire);
        let origin = self.origin.load(Ordering::Relaxed);
        let source = self.source.load(Ordering::Relaxed);
        let (kind, head) = ((state >> KIND_SHIFT) as u8, state & HEAD_MASK);
        let whole = head | check_of(fd, origin, source, head) == state;
        (kind != 0 && whole && self.swap_state(state, state & GENERATION_MASK))
            .then(|| (Origin::unpack(origin), kind))
    }

    /// Takes out the very row that was read, to close its number on the
    /// program's behalf. The program's own closes then see [`Removed::Claimed`].
    pub fn claim(&self, fd: u32, info: &FdInfo) -> bool {
        let claimed = u64::from(info.generation) << GENERATION_SHIFT | CLAIMED;
        let (origin, source) = (info.origin.pack(), pack_source(info.source));
        self.swap_state(pack_state(fd, origin, source, info), claimed)
    }

    /// The number is closed. A newer row has taken the claim off already.
    pub fn release(&self, info: &FdInfo) {
        let removed = u64::from(info.generation) << GENERATION_SHIFT;
        self.swap_state(removed | CLAIMED, removed);
    }

    /// Nothing was closed after all: puts the claimed row back.
    pub fn unclaim(&self, fd: u32, info: &FdInfo) {
        let claimed = u64::from(info.generation) << GENERATION_SHIFT | CLAIMED;
        let (origin, source) = (info.origin.pack(), pack_source(info.source));
        self.swap_state(claimed, pack_state(fd, origin, source, info));
    }

    /// Puts a row back whose close failed: what [`FdRow::remove`] gave, unless
    /// the number has been given out again since. True when it is back.
    ///
    /// A removal leaves origin and source in place, so one swap brings the row
    /// back, and it fails on any newer row.
    pub fn restore(&self, fd: u32, info: &FdInfo) -> bool {
        let removed = u64::from(info.generation) << GENERATION_SHIFT;
        let (origin, source) = (info.origin.pack(), pack_source(info.source));
        self.swap_state(removed, pack_state(fd, origin, source, info))
    }

    /// Adds flags to a live row; a row removed meanwhile stays removed.
    pub fn mark(&self, fd: u32, flags: u8) {
        let before = self.state.load(Ordering::Acquire);
        let origin = self.origin.load(Ordering::Relaxed);
        let source = self.source.load(Ordering::Relaxed);
        let live = unpack(fd, origin, before, source).filter(|info| info.kind != 0);
        if let Some(mut info) = live {
            info.flags |= flags;
            self.swap_state(before, pack_state(fd, origin, source, &info));
        }
    }

    /// One try: whoever changed the row meanwhile knew better.
    fn swap_state(&self, from: u64, to: u64) -> bool {
        self.state
            .compare_exchange(from, to, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// The live descriptor of this row.
    pub fn read(&self, fd: u32) -> Option<FdInfo> {
        let state = self.state.load(Ordering::Acquire);
        let info = unpack(
            fd,
            self.origin.load(Ordering::Relaxed),
            state,
            self.source.load(Ordering::Relaxed),
        );
        info.filter(|info| info.kind != 0)
    }
}

impl Default for FdRow {
    fn default() -> Self {
        let [origin, state, closed, source] = [0; 4].map(AtomicU64::new);
        FdRow {
            origin,
            state,
            closed,
            source,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn info(site: u32) -> FdInfo {
        FdInfo {
            origin: Origin { at_ms: 5, site },
            kind: 16,
            flags: 2,
            generation: 1,
            source: None,
        }
    }

    fn taken(row: &FdRow) -> FdInfo {
        let Removed::Row(info) = row.remove(4) else {
            panic!("{row:?}")
        };
        info
    }

    #[test]
    fn a_claimed_number_is_nobody_elses_to_close() {
        let row = FdRow::default();
        row.insert(4, &info(9));
        assert!(!row.claim(4, &info(10)));
        assert!(row.claim(4, &info(9)));
        assert!(!row.claim(4, &info(9)));
        assert_eq!(row.read(4), None);
        assert_eq!(row.remove(4), Removed::Claimed);
        assert_eq!(row.remove(4), Removed::Claimed);
        row.release(&info(9));
        assert_eq!(row.remove(4), Removed::Free);
    }

    #[test]
    fn the_next_holder_ends_a_claim() {
        let row = FdRow::default();
        row.insert(4, &info(9));
        assert!(row.claim(4, &info(9)));
        assert!(!row.insert(4, &info(10)));
        row.release(&info(9));
        assert_eq!(taken(&row).origin.site, 10);
        assert_eq!(row.remove(4), Removed::Free);
    }

    #[test]
    fn a_claim_can_be_taken_back() {
        let row = FdRow::default();
        row.insert(4, &info(9));
        assert!(row.claim(4, &info(9)));
        row.unclaim(4, &info(9));
        assert_eq!(row.remove(4), Removed::Row(info(9)));
    }

    #[test]
    fn a_number_is_removed_once() {
        let row = FdRow::default();
        assert_eq!(row.remove(4), Removed::Free);
        assert!(!row.insert(4, &info(9)));
        assert_eq!(row.remove(4), Removed::Row(info(9)));
        assert_eq!(row.remove(4), Removed::Free);
    }

    #[test]
    fn a_whole_row_comes_out_and_no_other() {
        let row = FdRow::default();
        assert_eq!(row.remove_whole(4), None);
        row.insert(4, &info(9));
        row.source.fetch_xor(1, Ordering::Relaxed);
        assert_eq!(row.remove_whole(4), None);
        row.source.fetch_xor(1, Ordering::Relaxed);
        assert_eq!(row.remove_whole(4), Some((info(9).origin, info(9).kind)));
        assert_eq!(row.remove(4), Removed::Free);
        row.insert(4, &info(9));
        let next = FdInfo {
            generation: 2,
            ..info(9)
        };
        assert!(row.claim(4, &next));
        assert_eq!(row.remove_whole(4), None);
        assert_eq!(row.remove(4), Removed::Claimed);
    }

    #[test]
    fn a_missed_removal_shows() {
        let row = FdRow::default();
        assert!(!row.insert(4, &info(9)));
        assert!(row.insert(4, &info(10)));
        assert_eq!(
            row.read(4),
            Some(FdInfo {
                generation: 2,
                ..info(10)
            })
        );
    }

    #[test]
    fn a_failed_close_restores() {
        let row = FdRow::default();
        row.insert(4, &info(9));
        let taken = taken(&row);
        assert!(row.restore(4, &taken));
        assert_eq!(row.read(4), Some(info(9)));
    }

    #[test]
    fn a_number_given_out_again_is_not_restored_over() {
        let row = FdRow::default();
        row.insert(4, &info(9));
        let taken = taken(&row);
        row.insert(4, &info(10));
        assert!(!row.restore(4, &taken));
        assert_eq!(row.read(4).map(|now| now.origin.site), Some(10));
    }

    #[test]
    fn flags_are_added_to_live_rows_only() {
        let row = FdRow::default();
        row.mark(4, 8);
        assert_eq!(row.read(4), None);
        row.insert(4, &info(9));
        row.mark(4, 8);
        let marked = FdInfo {
            flags: 10,
            ..info(9)
        };
        assert_eq!(row.read(4), Some(marked));
        assert_eq!(row.remove(4), Removed::Row(marked));
        row.mark(4, 1);
        assert_eq!(row.remove(4), Removed::Free);
    }

    proptest! {
        #[test]
        fn one_changed_bit_tears_a_row(source in proptest::option::of(0u32..1 << 20), word in 0usize..3, bit in 0u32..64) {
            let row = FdRow::default();
            // A kind of two bits: no flip of one makes it 0, which is a free row.
            row.insert(4, &FdInfo { source, kind: 17, ..info(9) });
            [&row.origin, &row.state, &row.source][word].fetch_xor(1 << bit, Ordering::Relaxed);
            prop_assert_eq!(row.read(4), None);
            prop_assert_eq!(row.remove(4), Removed::Torn);
        }

        #[test]
        fn scribbled_rows_are_torn_or_harmless(fd: u32, origin: u64, state: u64, source: u64) {
            if let Some(info) = unpack(fd, origin, state, source) {
                prop_assert!(info.kind == 0 || state & 0xFFFF == 0);
            }
        }

        #[test]
        fn rows_survive(fd in 0u32..1 << 20, at_ms in 0u64..1 << 40, site in 0u32..1 << 24,
                        kind in 1u8.., flags: u8, source in proptest::option::of(0u32..1 << 20)) {
            let row = FdRow::default();
            let info = FdInfo { origin: Origin { at_ms, site }, kind, flags, generation: 1, source };
            row.insert(fd, &info);
            prop_assert_eq!(row.read(fd), Some(info));
        }
    }
}
