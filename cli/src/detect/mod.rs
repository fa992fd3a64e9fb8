//! Pure functions from a snapshot to findings.
//!
//! - [`candidates`]: what each site holds, as the model takes it; `ages`: how
//!   old, and how long unused, a descriptor is
//! - [`model`]: the statistics; [`close_wait`] and [`things`]: hard proofs
//! - [`context`]: what is known beside the snapshot: looks, earlier runs, labels
//! - [`decide`]: what is said in the end; [`outlook`]: how fast, until when
//! - [`lifetimes`]: how long those that were given back had lived
//! - [`place`]: where a stack's things come from; [`beside`]: other sites of the
//!   same line; [`sentence`] and
//!   [`evidence`]: what a person reads
//! - [`frames`]: stacks, named or not
//! - [`memory`]: where the resident memory went; [`health`]: one score
//! - [`report`]: findings in the stable JSON shape; [`totals`]: all that is held

mod ages;
pub mod beside;
pub mod candidates;
pub mod close_wait;
pub mod context;
pub mod decide;
pub mod evidence;
pub mod frames;
pub mod health;
pub mod lifetimes;
pub mod memory;
pub mod model;
pub mod outlook;
pub mod place;
pub mod report;
pub mod sentence;
pub mod things;
pub mod totals;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Kind, Verdict};
use crate::snapshot::Snapshot;
pub use candidates::{Candidate, Held};
pub use context::{Context, Label, Looks, Prior, Priors, finding_id};
pub use frames::{Offsets, Symbolise};
use model::{Decision, Measured, Sort, Why};
pub use outlook::Outlook;
pub use place::{apart, place};
pub use report::{report, report_on};
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

impl Wanted {
    fn kind(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    /// Whether sites of a kind are looked at: what grows on the heap may turn
    /// out as a cache.
    fn site(&self, kind: Kind) -> bool {
        self.kind(kind) || (kind == Kind::Memory && self.kinds.contains(&Kind::Caches))
    }

    fn found(&self, kind: Kind) -> bool {
        self.kind(kind) || (kind == Kind::Caches && self.kinds.contains(&Kind::Memory))
    }
}

/// One site that holds more than it should.
#[derive(Debug, Clone)]
pub struct Found {
    /// Index of the site in the snapshot
    pub site: usize,
    /// What sort of thing
    pub kind: Kind,
    /// The verdict, and why
    pub decision: Decision,
    /// How many, estimated where sampled
    pub count: u64,
    /// Their bytes
    pub bytes: Option<u64>,
    /// Indexes of the descriptors concerned, oldest first
    pub descriptors: Vec<usize>,
    /// Indexes of the things concerned, oldest first
    pub things: Vec<usize>,
    /// Births of what it is about, oldest first, ms since the segment was made
    pub births_ms: Vec<u64>,
    /// What the questions found
    pub measured: Measured,
    /// How fast, and until when
    pub outlook: Outlook,
}

impl Found {
    /// How sure.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.decision.verdict
    }

    /// Of blocks, which may be a sample.
    #[must_use]
    pub fn is_heap(&self) -> bool {
        matches!(self.kind, Kind::Memory | Kind::Caches)
    }
}

impl Found {
    /// By a clock that stopped early everything is too young.
    fn forget_youth(&mut self) {
        if self.verdict() == Verdict::Early {
            self.decision.verdict = Verdict::Held;
        }
    }
}

impl Found {
    /// Stable for one build of the program: kind and site.
    #[must_use]
    pub fn id(&self, snapshot: &Snapshot) -> String {
        decide::id_of(self.kind, snapshot.sites.all[self.site].key)
    }
}

/// Below this share of the live heap an early or held finding is left out.
const SMALL_SHARE: f64 = 0.01;
/// Unless it is among the biggest few.
const BIGGEST: usize = 20;

/// Every site that holds something, worst first, and how many small heap
/// sites that nothing speaks against were left out.
#[must_use]
pub fn find(snapshot: &Snapshot, wanted: &Wanted, context: &Context<'_>) -> (Vec<Found>, usize) {
    let mut found = find_all(snapshot, wanted, context);
    let left_out = leave_out(&mut found, snapshot, wanted);
    (found, left_out)
}

/// The same, with the small ones.
#[must_use]
pub fn find_all(snapshot: &Snapshot, wanted: &Wanted, context: &Context<'_>) -> Vec<Found> {
    let mut by_kind: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
    for (at, site) in snapshot.sites.all.iter().enumerate() {
        if let Some(kind) = site.kind.filter(|kind| wanted.site(*kind)) {
            by_kind.entry(kind).or_default().push(at);
        }
    }
    let mut found: Vec<Found> = by_kind
        .into_iter()
        .flat_map(|(kind, sites)| of_kind(snapshot, kind, &sites, wanted, context))
        .filter(|found| wanted.found(found.kind))
        .collect();
    if snapshot.facts.clock_stopped() {
        found.iter_mut().for_each(Found::forget_youth);
    }
    found.sort_by(worse_first);
    found
}

/// Takes out what nobody asked for; how many.
pub fn leave_out(found: &mut Vec<Found>, snapshot: &Snapshot, wanted: &Wanted) -> usize {
    if wanted.all {
        0
    } else {
        leave_out_small(found, snapshot)
    }
}

/// By verdict, then by what runs out first, then by size.
fn worse_first(a: &Found, b: &Found) -> std::cmp::Ordering {
    let ends = |found: &Found| found.outlook.exhaustion_s.unwrap_or(f64::INFINITY);
    (a.verdict().cmp(&b.verdict()))
        .then(ends(a).total_cmp(&ends(b)))
        .then(a.bytes.is_some().cmp(&b.bytes.is_some()))
        .then(b.bytes.cmp(&a.bytes))
        .then(b.count.cmp(&a.count))
        .then(a.site.cmp(&b.site))
}

fn leave_out_small(found: &mut Vec<Found>, snapshot: &Snapshot) -> usize {
    let least = snapshot.heap.map_or(0.0, |heap| heap.bytes) * SMALL_SHARE;
    let (before, mut early, mut held) = (found.len(), 0, 0);
    found.retain(|finding| {
        let kept = match finding.verdict() {
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

/// All sites of a kind are judged together. One may give three findings: what
/// is proven, what a fix has ended but for the number, and the rest.
fn of_kind(
    snapshot: &Snapshot,
    kind: Kind,
    sites: &[usize],
    wanted: &Wanted,
    context: &Context<'_>,
) -> Vec<Found> {
    let look = context.looks.number;
    let measure =
        |one: &Candidate| model::measure(&one.data(snapshot, kind, wanted, context), look);
    let (mut proven, mut hung_up, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    let is_hung_up =
        |held: Held| matches!(held, Held::Descriptor(open) if snapshot.descriptors[open].hung_up);
    for at in sites {
        let site = &snapshot.sites.all[*at];
        let proof = close_wait::leaking(snapshot, *at, wanted, context, 0);
        let is_proven = |held: Held| match held {
            Held::Descriptor(open) => proof.binary_search(&open).is_ok(),
            Held::Thing(thing) => things::is_proven(&snapshot.things[thing]),
        };
        rest.push(Candidate::of(snapshot, *at, kind, wanted, |held| {
            !is_proven(held) && !is_hung_up(held)
        }));
        let ended = Candidate::of(snapshot, *at, kind, wanted, is_hung_up);
        hung_up.extend(Some(ended).filter(|one| !one.descriptors.is_empty()));
        // Blocks are neither: no proof speaks of them.
        if !proof.is_empty() || !site.live.things.is_empty() {
            let certain = Candidate::of(snapshot, *at, kind, wanted, is_proven);
            proven.extend(Some(certain).filter(|one| !one.holdings.is_empty()));
        }
    }
    let measured: Vec<Measured> = rest.iter().map(measure).collect();
    let decisions = model::judge(&measured, sort(kind), look);
    let proven = proven.into_iter().map(|one| {
        let measured = measure(&one);
        (one, measured, Decision::proven())
    });
    let hung_up = hung_up.into_iter().map(|one| {
        let measured = measure(&one);
        (one, measured, Decision::hung_up())
    });
    let judged = rest.into_iter().zip(measured).zip(decisions);
    let judged = judged.map(|((one, measured), decision)| {
        let id = decide::id_of(kind, snapshot.sites.all[one.site].key);
        let decision = decide::at_this_look(decision, &measured, &id, context);
        (one, measured, decision)
    });
    let all = proven
        .chain(judged)
        .chain(hung_up)
        .filter(|(one, ..)| !one.holdings.is_empty());
    all.map(|(one, measured, decision)| {
        let id = decide::id_of(kind, snapshot.sites.all[one.site].key);
        let decision = decide::obey(decision, context.labels.get(&id));
        found(snapshot, kind, one, measured, decision)
    })
    .collect()
}

fn sort(kind: Kind) -> Sort {
    match kind {
        Kind::Memory | Kind::Mappings => Sort::Roomy,
        _ => Sort::Scarce,
    }
}

/// A leak is about those that are old and unused; everything else about all
/// that is held.
fn found(
    snapshot: &Snapshot,
    kind: Kind,
    mut one: Candidate,
    measured: Measured,
    decision: Decision,
) -> Found {
    if decision.is_of_the_lost() {
        one.keep(|holding| measured.is_lost(holding, snapshot.moment_ms));
    }
    let (count, bytes) = size(snapshot, kind, &one);
    let outlook = Outlook::of(snapshot, kind, decision.verdict, &measured, (count, bytes));
    let outlook = match (decision.why, one.things.is_empty()) {
        (Why::Stopped, _) => outlook.at_a_stand(),
        (_, true) => outlook,
        (_, false) => outlook.without_end(),
    };
    let births_ms = one.holdings.iter().map(|holding| holding.born_ms).collect();
    let is_cache = kind == Kind::Memory && decision.verdict == Verdict::Growing;
    Found {
        site: one.site,
        kind: if is_cache { Kind::Caches } else { kind },
        decision,
        count,
        bytes,
        descriptors: one.descriptors,
        things: one.things,
        births_ms,
        measured,
        outlook,
    }
}

/// How many they stand for, and their bytes.
fn size(snapshot: &Snapshot, kind: Kind, one: &Candidate) -> (u64, Option<u64>) {
    if kind != Kind::Memory {
        // A thread's stack is address space, hardly any of it memory.
        return (one.holdings.len() as u64, None);
    }
    let oldest = one.holdings.iter().map(|holding| holding.born_ms).min();
    let live = &snapshot.sites.all[one.site].live;
    let (count, bytes) = live.born_after(oldest.and_then(|born| born.checked_sub(1)));
    ((count.round() as u64).max(1), Some(bytes.round() as u64))
}
