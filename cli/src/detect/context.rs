//! What is known beside the snapshot at hand: earlier looks at the same
//! process, earlier runs of the same program, and a person's word.
//!
//! All of it is optional. [`Context::default`] is the first look at a program
//! that nobody has seen before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Kind, Verdict};

/// What is known beside the snapshot.
#[derive(Debug)]
pub struct Context<'a> {
    /// Earlier looks at this process
    pub looks: Looks,
    /// Earlier runs of this program
    pub priors: &'a dyn Priors,
    /// What a person said, by finding id
    pub labels: BTreeMap<String, Label>,
}

impl Default for Context<'_> {
    fn default() -> Self {
        Self {
            looks: Looks::default(),
            priors: &Unlearned,
            labels: BTreeMap::new(),
        }
    }
}

/// Looks at one process, with one and the same floor on ages.
///
/// Whoever looks often enough sees chance agree with anything once. So a look
/// counts only when the observation has grown by half since the last one that
/// did, each counted look is allowed a smaller share of error, and between
/// two the last decision stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Looks {
    /// The number of the latest counted look, this one included; from 1
    pub number: u32,
    /// Whether this look is a counted one
    pub counted: bool,
    /// The moment from which the next look counts, ms since the segment was
    /// made; none where nobody keeps count
    pub next_ms: Option<u64>,
    /// What the latest counted look decided, by finding id; of two findings
    /// with one id the statistical one
    pub last: BTreeMap<String, Verdict>,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            number: 1,
            counted: true,
            next_ms: None,
            last: BTreeMap::new(),
        }
    }
}

/// A person's word on a finding; it is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Is meant to be held
    Ok,
    /// Is a leak
    Leak,
}

/// What earlier runs of the same build taught.
pub trait Priors: std::fmt::Debug {
    /// What is known of a site, by [`crate::snapshot::Site::key`].
    fn of(&self, site_key: u64, kind: Kind) -> Option<Prior>;
}

/// What earlier runs taught of one site. It can only make the verdict more
/// careful: every field raises a threshold or asks for more looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Prior {
    /// Nine in ten lived at most this long
    pub q90_ms: u64,
    /// Ninety-nine in a hundred did
    pub q99_ms: u64,
    /// The longest life that the program itself ended
    pub longest_ms: u64,
    /// The longest time that one lay unused and then was used again
    pub woken_gap_ms: u64,
    /// The most that a whole run held at once without growing further; none
    /// where it never stopped growing
    pub plateau: Option<u64>,
    /// Lives that were ended by the program, over all runs
    pub closes: u64,
    /// Runs that this was learned from
    pub runs: u32,
    /// Counted looks that must agree beyond the first, after a false alarm
    pub extra_looks: u32,
}

/// No run was seen before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unlearned;

impl Priors for Unlearned {
    fn of(&self, _: u64, _: Kind) -> Option<Prior> {
        None
    }
}

/// The stable name of a finding: the kind of its site and the site's key.
#[must_use]
pub fn finding_id(kind: Kind, site_key: u64) -> String {
    format!("{}-{site_key:016x}", kind.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_known_is_a_first_look() {
        let context = Context::default();
        assert_eq!((context.looks.number, context.looks.counted), (1, true));
        assert_eq!(context.priors.of(1, Kind::Files), None);
        assert!(context.labels.is_empty() && context.looks.last.is_empty());
    }

    #[test]
    fn an_id_names_kind_and_site() {
        assert_eq!(finding_id(Kind::Sockets, 0xab), "sockets-00000000000000ab");
    }
}
