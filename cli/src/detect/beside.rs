//! Sites of which nothing is told, but which may come from the line of one that
//! is: else "none of the 800 files from a.c:21 was ever closed" is read as if
//! that line closed none, while it does so by another way.
//!
//! Compilers copy calls (inlining, unrolled loops, a branch moved before the
//! call), and each copy is a site. They stay apart, since what one of them
//! gives back says nothing of another; ARCHITECTURE.md has the reasons.

use std::collections::{BTreeSet, HashMap};

use shm_protocol::words::Frame;

use super::Found;
use crate::model::{Kind, Verdict};
use crate::snapshot::{Site, Snapshot};

/// Findings that are looked at, the worst first.
const MOST_FINDINGS: usize = 256;
/// Sites that are looked for, for each of them.
const MOST_EACH: usize = 16;

/// Their indexes, each with the kind of the finding that it is beside.
#[must_use]
pub fn beside(snapshot: &Snapshot, found: &[Found]) -> Vec<(Kind, usize)> {
    let judged = found.iter().filter(|one| one.verdict() < Verdict::Early);
    let judged: Vec<&Found> = judged.take(MOST_FINDINGS).collect();
    if judged.is_empty() {
        return Vec::new();
    }
    let told: BTreeSet<usize> = found.iter().map(|one| one.site).collect();
    let mut by_depth: HashMap<(Option<Kind>, usize), Vec<usize>> = HashMap::new();
    for (at, site) in snapshot.sites.all.iter().enumerate() {
        if !told.contains(&at) {
            by_depth.entry(class(site)).or_default().push(at);
        }
    }
    let of_one = |one: &&Found| {
        let site = &snapshot.sites.all[one.site];
        let alike = by_depth.get(&class(site)).into_iter().flatten().copied();
        let copies =
            alike.filter(|other| is_copy(&site.frames, &snapshot.sites.all[*other].frames));
        let kind = one.kind;
        copies
            .take(MOST_EACH)
            .map(move |other| (kind, other))
            .collect::<Vec<_>>()
    };
    let all: BTreeSet<(Kind, usize)> = judged.iter().flat_map(of_one).collect();
    all.into_iter().collect()
}

/// Copies have as many callers.
fn class(site: &Site) -> (Option<Kind>, usize) {
    (site.kind, site.frames.len())
}

/// The same calls but for one, which lies elsewhere in the same module.
fn is_copy(one: &[Frame], other: &[Frame]) -> bool {
    let mut differing = one.iter().zip(other).filter(|(one, other)| one != other);
    let (first, second) = (differing.next(), differing.next());
    let module = |frame: &Frame| match frame {
        Frame::Native { module, .. } => Some(*module),
        _ => None,
    };
    let elsewhere =
        first.is_some_and(|(one, other)| module(one).is_some() && module(one) == module(other));
    elsewhere && second.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_differs_by_one_call() {
        let native = |module, offset| Frame::Native { module, offset };
        let one = [native(1, 8), native(2, 16), native(2, 24)];
        let is = |other: &[Frame]| is_copy(&one, other);
        assert!(is(&[native(1, 8), native(2, 17), native(2, 24)]));
        assert!(is(&[native(1, 8), native(2, 16), native(2, 25)]));
        assert!(!is(&one), "it is the same");
        assert!(!is(&[native(1, 8), native(2, 17), native(2, 25)]));
        assert!(!is(&[native(1, 8), native(3, 16), native(2, 24)]));
        assert!(!is(&[native(1, 8), Frame::Raw(16), native(2, 24)]));
    }
}
