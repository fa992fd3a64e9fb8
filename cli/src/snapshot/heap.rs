//! Live heap blocks, summed up by site.

use shm_protocol::codes::Counter;
use shm_protocol::view::{BlockInfo, HeaderInfo, View};
use shm_protocol::weight::Class;

use super::sites::Sites;
use crate::model::{HeapCoverage, Kind};

/// What all live blocks add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HeapTotals {
    /// Blocks, estimated where sampled
    pub count: f64,
    /// Bytes, estimated where sampled
    pub bytes: f64,
    /// Rows in the table
    pub rows: u64,
    /// The newest birth, ms since the segment was made
    pub newest_ms: u64,
}

/// Adds every block to its site. Each stands for as many as its chance of
/// being sampled says: `1 / (1 - exp(-size / mean))`.
pub fn add_blocks(view: &View<'_>, header: &HeaderInfo, sites: &mut Sites) -> HeapTotals {
    let mut totals = HeapTotals::default();
    for block in view.blocks() {
        let weight = weight_of(&block, header);
        let (count, bytes) = (weight, weight * block.row.size_bytes as f64);
        let site = sites
            .index(block.row.origin.site)
            .and_then(|at| sites.all.get_mut(at));
        // Mappings lie in the same table and are no heap.
        if site
            .as_ref()
            .is_none_or(|site| site.kind != Some(Kind::Mappings))
        {
            totals.count += count;
            totals.bytes += bytes;
        }
        totals.rows += 1;
        totals.newest_ms = totals.newest_ms.max(block.row.origin.at_ms);
        if let Some(site) = site {
            site.live.add(block.row.origin.at_ms, count, bytes);
        }
    }
    totals
}

fn weight_of(block: &BlockInfo, header: &HeaderInfo) -> f64 {
    let class = header
        .classes
        .get(usize::from(block.row.class))
        .copied()
        .flatten();
    class.map_or(1.0, |class| class.blocks(block.row.size_bytes))
}

/// How the heap is recorded: the coverage, the mean between samples, and the
/// share of allocations that was sampled, as measured.
#[must_use]
pub fn coverage(
    view: &View<'_>,
    header: &HeaderInfo,
    sites: &Sites,
) -> (HeapCoverage, Option<u64>, Option<f64>) {
    use shm_protocol::codes::{Mode, note};
    let samples = view.counter(Counter::Samples);
    let class = |index: u32| header.classes.get(index as usize).copied().flatten();
    let class = match header.mode {
        Some(Mode::Deep) => class(header.deep_class),
        _ => class(header.light_class),
    };
    let out_of_reach = header.notes & note::STATIC_ALLOCATOR != 0;
    let covered = match (header.mode, class) {
        _ if out_of_reach => HeapCoverage::None,
        (Some(Mode::Off), _) if samples == 0 => HeapCoverage::None,
        (Some(Mode::Deep), Some(Class::All)) => HeapCoverage::Full,
        _ => HeapCoverage::Sampled,
    };
    let mean = match class {
        Some(Class::Bytes(mean)) if covered == HeapCoverage::Sampled => Some(mean),
        _ => None,
    };
    (
        covered,
        mean,
        effective_rate(view, sites, samples).filter(|_| !out_of_reach),
    )
}

/// The moment from which every allocation is surely recorded, none where that
/// is from the start. The switch itself has no time in the record: the first
/// such block still held, after the last sampled one, came later than it.
#[must_use]
pub fn full_since(view: &View<'_>, header: &HeaderInfo, moment_ms: u64) -> Option<u64> {
    let blocks = view.blocks();
    let births = |exact: bool| {
        let one = move |block: &&BlockInfo| is_exact(block, header) == exact;
        let chosen = blocks.iter().filter(one);
        chosen.map(|block| block.row.origin.at_ms)
    };
    let started_so = header.policy == Some(shm_protocol::codes::Policy::Deep);
    full_after(births(true), births(false), started_so, moment_ms)
}

fn is_exact(block: &BlockInfo, header: &HeaderInfo) -> bool {
    let class = header.classes.get(usize::from(block.row.class));
    class
        .copied()
        .flatten()
        .is_none_or(|class| class == Class::All)
}

fn full_after(
    exact: impl Iterator<Item = u64>,
    sampled: impl Iterator<Item = u64>,
    started_so: bool,
    moment_ms: u64,
) -> Option<u64> {
    let last = sampled.max();
    if started_so && last.is_none() {
        return None;
    }
    let first = exact
        .filter(|born| last.is_none_or(|last| *born > last))
        .min();
    Some(first.unwrap_or(moment_ms))
}

/// Samples over allocations: counted where the library counts them, else
/// estimated from what the samples stand for.
fn effective_rate(view: &View<'_>, sites: &Sites, samples: u64) -> Option<f64> {
    let calls = view.counter(Counter::ConsumedCalls);
    let heap = |site: &&super::sites::Site| site.kind == Some(Kind::Memory);
    let births: f64 = sites
        .all
        .iter()
        .filter(heap)
        .map(|site| site.stats.est_births)
        .sum();
    let allocations = if calls > 0 { calls as f64 } else { births };
    (allocations >= 1.0 && samples > 0).then(|| (samples as f64 / allocations).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_recorded_from_the_start_or_from_the_last_switch() {
        let since = |exact: &[u64], sampled: &[u64], started_so| {
            full_after(
                exact.iter().copied(),
                sampled.iter().copied(),
                started_so,
                100,
            )
        };
        assert_eq!(since(&[5, 9], &[], true), None);
        assert_eq!(since(&[50, 60], &[7, 20], false), Some(50));
        assert_eq!(since(&[5, 50, 60], &[7, 20], true), Some(50));
        assert_eq!(since(&[50], &[], false), Some(50));
        assert_eq!(since(&[], &[7], false), Some(100));
    }
}
