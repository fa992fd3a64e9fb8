//! Closes of numbers that were not open.

use super::{View, u64_at};
use crate::closes::{self, BadClose, ROWS};
use crate::codes::Section;

impl View<'_> {
    /// The most recent ones, by time.
    pub fn bad_closes(&self) -> Vec<BadClose> {
        let rows = self.rows(Section::BadCloses).take(ROWS);
        let words = rows.map(|(_, row)| core::array::from_fn(|i| u64_at(row, 8 * i)));
        let mut found: Vec<BadClose> = words
            .filter_map(closes::unpack)
            .filter_map(|close| {
                self.count_torn(u64::from(close.is_none()));
                close
            })
            .collect();
        found.sort_by_key(|close| close.origin.at_ms);
        found
    }
}
