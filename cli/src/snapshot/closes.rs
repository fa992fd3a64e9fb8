//! Closes of numbers that were not open, by where they came from.

use jiff::Timestamp;
use shm_protocol::closes::BadClose as Row;
use shm_protocol::view::HeaderInfo;

use super::build::timestamp;
use super::sites::Sites;

/// Such closes from one place, of what one place made.
#[derive(Debug, Clone, PartialEq)]
pub struct BadClose {
    /// The number that the latest of them was about
    pub fd: i32,
    /// When that was, ms since the segment was made
    pub at_ms: u64,
    /// The same by the wall clock
    pub at: Timestamp,
    /// Index of the site that closed
    pub site: Option<usize>,
    /// Index of the site that had closed the number before, where closes were
    /// followed by then
    pub first_site: Option<usize>,
    /// Index of the site that had made what the number named last
    pub made_site: Option<usize>,
    /// How many are on record
    pub count: u64,
}

/// Puts together what came from the same places, the latest first.
#[must_use]
pub fn merge(rows: &[Row], sites: &Sites, header: &HeaderInfo) -> Vec<BadClose> {
    let mut merged: Vec<BadClose> = Vec::new();
    for row in rows {
        let close = BadClose {
            fd: i32::try_from(row.fd).unwrap_or(-1),
            at_ms: row.origin.at_ms,
            at: timestamp(header.real_ns(row.origin.at_ms)),
            site: sites.index(row.origin.site),
            first_site: row.earlier.and_then(|earlier| sites.index(earlier.site)),
            made_site: sites.index(row.made_site),
            count: 1,
        };
        let places = |one: &BadClose| (one.site, one.first_site, one.made_site);
        match merged
            .iter_mut()
            .find(|known| places(known) == places(&close))
        {
            Some(known) => {
                *known = BadClose {
                    count: known.count + 1,
                    ..close
                }
            }
            None => merged.push(close),
        }
    }
    merged.sort_by_key(|close| std::cmp::Reverse(close.at_ms));
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::words::Origin;

    #[test]
    fn closes_from_the_same_places_are_one() {
        let row = |fd, at_ms, earlier| Row {
            fd,
            origin: Origin { at_ms, site: 9 },
            earlier,
            made_site: 0,
        };
        let rows = [row(3, 5, None), row(4, 7, None)];
        let merged = merge(
            &rows,
            &Sites::default(),
            &super::super::activity::tests::header(),
        );
        assert_eq!(merged.len(), 1);
        assert_eq!((merged[0].fd, merged[0].at_ms, merged[0].count), (4, 7, 2));
        assert_eq!(merged[0].site, None);
    }
}
