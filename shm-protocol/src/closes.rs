//! Closes of numbers that were not open.
//!
//! A small table that is written round and round. A row is one writer's by the
//! number it drew; should the next one round overtake it, the check tells.

use crate::plain::PlainRow;
use crate::sync::Ordering;
use crate::words::{MAX_SITES, Origin, check16};

/// Rows of the table: the most recent ones are kept.
pub const ROWS: usize = 64;

/// One close of a number that was not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BadClose {
    /// The number.
    pub fd: u32,
    /// When it was, and from where.
    pub origin: Origin,
    /// The close before it of the same number, if closes were followed then.
    pub earlier: Option<Origin>,
    /// Site that made the number's last holder, 0 when unknown.
    pub made_site: u32,
}

/// The four words of a row: number plus one, the earlier close, this one, and
/// the maker's site (24 bits, from bit 16) over a check (16).
fn words(close: &BadClose) -> [u64; 4] {
    let id = u64::from(close.fd) + 1;
    let earlier = close.earlier.map_or(0, Origin::pack);
    let origin = close.origin.pack();
    let made = u64::from(close.made_site & MAX_SITES) << 16;
    let check = check16(id ^ earlier.rotate_left(32), origin, made);
    [id, earlier, origin, made | u64::from(check)]
}

/// Writes a row over whatever it held.
pub fn write(row: &PlainRow, close: &BadClose) {
    let [id, detail, origin, state] = words(close);
    row.id.store(id, Ordering::Relaxed);
    row.detail.store(detail, Ordering::Relaxed);
    row.origin.store(origin, Ordering::Relaxed);
    row.state.store(state, Ordering::Release);
}

/// What a row holds: `None` when it is free, `Some(None)` when it is torn.
pub fn unpack([id, detail, origin, state]: [u64; 4]) -> Option<Option<BadClose>> {
    let fd = id.checked_sub(1)?;
    let close = u32::try_from(fd).ok().map(|fd| BadClose {
        fd,
        origin: Origin::unpack(origin),
        earlier: (detail != 0).then(|| Origin::unpack(detail)),
        made_site: (state >> 16) as u32 & MAX_SITES,
    });
    Some(close.filter(|close| words(close) == [id, detail, origin, state]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin() -> impl Strategy<Value = Origin> {
        (0u64..1 << 40, 0..=MAX_SITES).prop_map(|(at_ms, site)| Origin { at_ms, site })
    }

    fn close() -> impl Strategy<Value = BadClose> {
        let earlier = prop::option::of(origin().prop_filter("a moment", |o| o.pack() != 0));
        (any::<u32>(), origin(), earlier, 0..=MAX_SITES).prop_map(
            |(fd, origin, earlier, made_site)| BadClose {
                fd,
                origin,
                earlier,
                made_site,
            },
        )
    }

    proptest! {
        #[test]
        fn closes_survive(close in close()) {
            prop_assert_eq!(unpack(words(&close)), Some(Some(close)));
        }

        #[test]
        fn one_changed_bit_tears_a_row(close in close(), word in 0usize..4, bit in 0u32..64) {
            let mut changed = words(&close);
            changed[word] ^= 1 << bit;
            prop_assert!(matches!(unpack(changed), None | Some(None)));
        }

        #[test]
        fn any_words_are_survived(words: [u64; 4]) {
            let _ = unpack(words);
        }
    }

    #[test]
    fn a_free_row_is_no_close() {
        assert_eq!(unpack([0; 4]), None);
    }
}
