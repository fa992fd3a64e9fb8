//! Pure functions from a snapshot to findings.
//!
//! - [`assess`]: what a site's counts say; a later statistical model replaces
//!   this one function and nothing else
//! - [`close_wait`]: the one hard proof so far
//! - [`lifetimes`]: how long those that were given back had lived
//! - [`place`]: where a stack's things come from; [`sentence`]: what a person
//!   reads
//! - [`frames`]: stacks, named or not; `ages`: of descriptors
//! - [`report`]: findings in the stable JSON shape; [`totals`]: all that is held

mod ages;
pub mod assess;
pub mod close_wait;
pub mod frames;
pub mod lifetimes;
pub mod place;
pub mod report;
pub mod sentence;
pub mod totals;

use std::time::Duration;

use crate::model::{Kind, Verdict};
use crate::snapshot::{Site, Snapshot};
pub use assess::Assessment;
pub use frames::{Offsets, Symbolise};
pub use place::place;
pub use report::report;
pub use totals::totals;

/// What the caller wants to see.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only these kinds; all when empty
    pub kinds: Vec<Kind>,
    /// Replaces every fixed floor on ages
    pub min_age: Option<Duration>,
    /// Only what was created after this moment, ms since the segment was made
    pub born_after_ms: Option<u64>,
    /// Small heap sites too
    pub all: bool,
}

/// One site that holds more than it should.
#[derive(Debug, Clone)]
pub struct Found {
    /// Index of the site in the snapshot
    pub site: usize,
    /// What sort of thing
    pub kind: Kind,
    /// How sure
    pub verdict: Verdict,
    /// 0 to 1, where it can be said
    pub confidence: Option<f64>,
    /// How many, estimated where sampled
    pub count: u64,
    /// Their bytes
    pub bytes: Option<u64>,
    /// Indexes of the descriptors concerned, oldest first
    pub descriptors: Vec<usize>,
    /// What the counts say
    pub assessment: Assessment,
}

impl Found {
    /// Stable for one build of the program: kind and site.
    #[must_use]
    pub fn id(&self, snapshot: &Snapshot) -> String {
        let key = snapshot.sites.all[self.site].key;
        format!("{}-{key:016x}", self.kind.name())
    }
}

/// Below this share of the live heap an early or held finding is left out.
const SMALL_SHARE: f64 = 0.01;
/// Unless it is among the biggest few.
const BIGGEST: usize = 20;

/// Every site that holds something, worst first, and how many small heap
/// sites that nothing speaks against were left out.
#[must_use]
pub fn find(snapshot: &Snapshot, wanted: &Wanted) -> (Vec<Found>, usize) {
    let sites = snapshot.sites.all.iter().enumerate();
    let mut found: Vec<Found> = sites
        .flat_map(|(at, site)| judge(snapshot, at, site, wanted))
        .collect();
    found.sort_by(worse_first);
    let left_out = if wanted.all {
        0
    } else {
        leave_out_small(&mut found, snapshot)
    };
    (found, left_out)
}

fn worse_first(a: &Found, b: &Found) -> std::cmp::Ordering {
    let key = |found: &Found| (found.verdict, found.bytes.is_some());
    key(a)
        .cmp(&key(b))
        .then(b.bytes.cmp(&a.bytes))
        .then(b.count.cmp(&a.count))
        .then(a.site.cmp(&b.site))
}

fn leave_out_small(found: &mut Vec<Found>, snapshot: &Snapshot) -> usize {
    let least = snapshot.heap.map_or(0.0, |heap| heap.bytes) * SMALL_SHARE;
    let (before, mut early, mut held) = (found.len(), 0, 0);
    found.retain(|finding| {
        let kept = match finding.verdict {
            Verdict::Early => &mut early,
            Verdict::Held => &mut held,
            _ => return true,
        };
        if finding.kind != Kind::Memory {
            return true;
        }
        *kept += 1;
        *kept <= BIGGEST || finding.bytes.is_some_and(|bytes| bytes as f64 >= least)
    });
    before - found.len()
}

/// A site may give two findings: what is proven, and the rest.
fn judge(snapshot: &Snapshot, at: usize, site: &Site, wanted: &Wanted) -> Vec<Found> {
    let Some(kind) = site
        .kind
        .filter(|kind| wanted.kinds.is_empty() || wanted.kinds.contains(kind))
    else {
        return Vec::new();
    };
    let proven = close_wait::proven(snapshot, site, wanted);
    let rest: Vec<usize> = of_interest(snapshot, site, wanted)
        .filter(|open| !proven.contains(open))
        .collect();
    let proof = (!proven.is_empty()).then(|| Found {
        confidence: Some(1.0),
        count: proven.len() as u64,
        bytes: None,
        assessment: assess::assess(
            site,
            &born(snapshot, &proven),
            kind,
            snapshot.moment_ms,
            wanted,
        ),
        descriptors: proven,
        verdict: Verdict::Leak,
        site: at,
        kind,
    });
    proof
        .into_iter()
        .chain(by_counts(snapshot, at, kind, rest, wanted))
        .collect()
}

/// The site's descriptors that are wanted by age.
fn of_interest<'a>(
    snapshot: &'a Snapshot,
    site: &'a Site,
    wanted: &Wanted,
) -> impl Iterator<Item = usize> + 'a {
    let after = wanted.born_after_ms;
    let born = move |open: usize| snapshot.descriptors[open].born_ms.unwrap_or(0);
    site.live
        .descriptors
        .iter()
        .copied()
        .filter(move |open| after.is_none_or(|after| born(*open) > after))
}

fn born(snapshot: &Snapshot, open: &[usize]) -> Vec<u64> {
    let mut born: Vec<u64> = open
        .iter()
        .filter_map(|open| snapshot.descriptors[*open].born_ms)
        .collect();
    born.sort_unstable();
    born
}

fn by_counts(
    snapshot: &Snapshot,
    at: usize,
    kind: Kind,
    descriptors: Vec<usize>,
    wanted: &Wanted,
) -> Option<Found> {
    let site = &snapshot.sites.all[at];
    let mut births = if kind.takes_descriptor() {
        born(snapshot, &descriptors)
    } else {
        site.live.births_ms.clone()
    };
    births.retain(|born| wanted.born_after_ms.is_none_or(|after| *born > after));
    let assessment = assess::assess(site, &births, kind, snapshot.moment_ms, wanted);
    let verdict = assessment.verdict()?;
    let (count, bytes) = match kind {
        Kind::Memory => {
            let (count, bytes) = site.live.born_after(wanted.born_after_ms);
            ((count.round() as u64).max(1), Some(bytes.round() as u64))
        }
        _ => (births.len() as u64, None),
    };
    let confidence = (verdict == Verdict::Suspect).then(|| assessment.confidence());
    Some(Found {
        site: at,
        kind,
        verdict,
        confidence,
        count,
        bytes,
        descriptors,
        assessment,
    })
}
