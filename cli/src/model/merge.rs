//! Several processes as one report: the same site in several is one finding.

use std::collections::BTreeMap;

use super::{
    Coverage, Finding, HeapCoverage, Held, Lifetimes, Memory, MemoryPart, PartName, Report, Share,
    SuppressedRule, Totals,
};
use crate::units::count;

/// Processes named in a finding's sentence.
const NAMED: usize = 8;

/// One report on all; none on none. That on a single one stays as it is.
#[must_use]
pub fn merge(mut reports: Vec<Report>) -> Option<Report> {
    if reports.len() < 2 {
        return reports.pop();
    }
    let processes = reports
        .iter()
        .map(|report| report.process.clone())
        .collect();
    let coverage = coverage(&reports);
    let totals = totals(&reports);
    let suppressed = suppressed(&reports);
    let memory = memory(&reports);
    let health = reports
        .iter()
        .min_by_key(|report| report.health.score.unwrap_or(u8::MAX))
        .map(|report| report.health.clone());
    let findings = findings(&mut reports);
    let caches = reports.iter_mut();
    let caches = caches.flat_map(|report| std::mem::take(&mut report.caches));
    let caches = caches.collect();
    let first = reports.swap_remove(0);
    Some(Report {
        coverage,
        totals,
        suppressed,
        findings,
        caches,
        processes,
        memory,
        health: health.unwrap_or_default(),
        ..first
    })
}

fn findings(reports: &mut [Report]) -> Vec<Finding> {
    let mut by_id: BTreeMap<(String, bool), Vec<(i32, Finding)>> = BTreeMap::new();
    for report in reports {
        for finding in report.findings.drain(..) {
            // A site's proven part stays apart from the rest of it.
            let key = (finding.id.clone(), finding.confidence == Some(1.0));
            by_id
                .entry(key)
                .or_default()
                .push((report.process.pid, finding));
        }
    }
    let mut merged: Vec<Finding> = by_id.into_values().filter_map(one).collect();
    merged.sort_by(|a, b| {
        (a.verdict, a.bytes.is_some())
            .cmp(&(b.verdict, b.bytes.is_some()))
            .then(b.bytes.cmp(&a.bytes))
            .then(b.count.cmp(&a.count))
            .then(a.id.cmp(&b.id))
    });
    merged
}

/// The worst one speaks for all; counts and rates add up.
fn one(mut parts: Vec<(i32, Finding)>) -> Option<Finding> {
    parts.sort_by_key(|(pid, part)| (part.verdict, std::cmp::Reverse(part.count), *pid));
    let shares: Vec<Share> = parts
        .iter()
        .map(|(pid, part)| Share {
            pid: *pid,
            count: part.count,
            verdict: part.verdict,
        })
        .collect();
    let sum = |of: fn(&Finding) -> Option<f64>| {
        parts
            .iter()
            .filter_map(|(_, part)| of(part))
            .reduce(|a, b| a + b)
    };
    let bytes = parts
        .iter()
        .filter_map(|(_, part)| part.bytes)
        .reduce(u64::saturating_add);
    let exhaustion_s = parts
        .iter()
        .filter_map(|(_, part)| part.exhaustion_s)
        .reduce(f64::min);
    let rate_per_hour = sum(|part| part.rate_per_hour);
    let lifetimes = lifetimes(&parts);
    let mut resources = Vec::new();
    for (pid, part) in &mut parts {
        resources.extend(part.resources.drain(..).map(|mut held| {
            held.pid = Some(*pid);
            held
        }));
    }
    let oldest = |age: Option<f64>| age.unwrap_or(0.0);
    resources.sort_by(|a, b| oldest(b.age_s).total_cmp(&oldest(a.age_s)));
    let worst = parts.into_iter().next()?.1;
    Some(Finding {
        count: shares.iter().map(|share| share.count).sum(),
        bytes,
        rate_per_hour,
        exhaustion_s,
        lifetimes,
        resources,
        summary: summary(&worst.summary, &shares),
        processes: shares,
        ..worst
    })
}

/// `... That is pid 12; in 3 processes: 173 (12: 60, 13: 58, 14: 55).`
fn summary(of_worst: &str, shares: &[Share]) -> String {
    let [worst, _, ..] = shares else {
        let only = shares.first().map_or(0, |share| share.pid);
        return format!("{of_worst} That is in process {only} alone.");
    };
    let named = shares.iter().take(NAMED);
    let mut list: Vec<String> = named
        .map(|share| format!("{}: {}", share.pid, count(share.count)))
        .collect();
    if shares.len() > NAMED {
        list.push(format!("and {} more", shares.len() - NAMED));
    }
    format!(
        "{of_worst} That is process {}; it is so in {} processes ({}).",
        worst.pid,
        shares.len(),
        list.join(", ")
    )
}

/// Of each quantile the largest: what holds in each process holds in all.
fn lifetimes(parts: &[(i32, Finding)]) -> Option<Lifetimes> {
    let all = parts.iter().filter_map(|(_, part)| part.lifetimes.clone());
    all.reduce(|a, b| Lifetimes {
        completed: a.completed.saturating_add(b.completed),
        p50_s: a.p50_s.max(b.p50_s),
        p90_s: a.p90_s.max(b.p90_s),
        p99_s: a.p99_s.max(b.p99_s),
        longest_s: a.longest_s.max(b.longest_s),
    })
}

fn add(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    Some(a?.saturating_add(b?))
}

fn coverage(reports: &[Report]) -> Coverage {
    let first = &reports[0].coverage;
    let all = || reports.iter().map(|report| &report.coverage);
    let same_heap = all().all(|other| other.heap == first.heap);
    let same_mean = all().all(|other| other.sample_bytes == first.sample_bytes);
    Coverage {
        heap: if same_heap {
            first.heap
        } else {
            HeapCoverage::Sampled
        },
        full_since: all().filter_map(|other| other.full_since).max(),
        sample_bytes: first.sample_bytes.filter(|_| same_mean),
        effective_rate: None,
        lost_events: all().map(|other| other.lost_events).reduce(add).flatten(),
        unknown_fds: all().map(|other| other.unknown_fds).reduce(add).flatten(),
        notes: notes(reports),
    }
}

/// A note that all have is said once, others with their process.
fn notes(reports: &[Report]) -> Vec<String> {
    let mut by_note: Vec<(&String, Vec<i32>)> = Vec::new();
    for report in reports {
        for note in &report.coverage.notes {
            match by_note.iter_mut().find(|(known, _)| *known == note) {
                Some((_, pids)) => pids.push(report.process.pid),
                None => by_note.push((note, vec![report.process.pid])),
            }
        }
    }
    let said = |(note, pids): (&String, Vec<i32>)| {
        if pids.len() == reports.len() {
            return note.clone();
        }
        let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
        format!("Process {}: {note}", pids.join(", "))
    };
    by_note.into_iter().map(said).collect()
}

fn totals(reports: &[Report]) -> Totals {
    let mut held: BTreeMap<super::Kind, Held> = BTreeMap::new();
    let mut states = BTreeMap::new();
    for totals in reports.iter().map(|report| &report.totals) {
        for one in &totals.held {
            let sum = held.entry(one.kind).or_insert_with(|| Held {
                count: 0,
                bytes: None,
                oldest_s: None,
                ..one.clone()
            });
            sum.count += one.count;
            sum.bytes = sum
                .bytes
                .into_iter()
                .chain(one.bytes)
                .reduce(u64::saturating_add);
            sum.oldest_s = sum
                .oldest_s
                .into_iter()
                .chain(one.oldest_s)
                .reduce(f64::max);
        }
        for (state, count) in &totals.socket_states {
            *states.entry(state.clone()).or_default() += count;
        }
    }
    let sum = |of: fn(&Totals) -> Option<u64>| {
        reports
            .iter()
            .map(|report| of(&report.totals))
            .reduce(add)
            .flatten()
    };
    Totals {
        live_bytes: sum(|totals| totals.live_bytes),
        rss_bytes: sum(|totals| totals.rss_bytes),
        open_fds: sum(|totals| totals.open_fds),
        // Each process has a limit and sites of its own.
        fd_limit: None,
        sites: None,
        held: held.into_values().collect(),
        socket_states: states,
        ..reports[0].totals.clone()
    }
}

/// Part by part, of all; none where one has none. Pages that several have mapped
/// count in each, as they do in the sum of their resident sets.
fn memory(reports: &[Report]) -> Option<Memory> {
    let all: Option<Vec<&Memory>> = reports
        .iter()
        .map(|report| report.memory.as_ref())
        .collect();
    let all = all?;
    let mut parts: BTreeMap<PartName, u64> = BTreeMap::new();
    for part in all.iter().flat_map(|memory| &memory.parts) {
        let sum = parts.entry(part.name).or_default();
        *sum = sum.saturating_add(part.bytes);
    }
    let mut parts: Vec<MemoryPart> = parts
        .into_iter()
        .map(|(name, bytes)| MemoryPart { name, bytes })
        .collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    let sum = |of: fn(&Memory) -> u64| {
        all.iter()
            .map(|memory| of(memory))
            .fold(0, u64::saturating_add)
    };
    Some(Memory {
        rss_bytes: sum(|memory| memory.rss_bytes),
        vm_rss_bytes: all
            .iter()
            .map(|memory| memory.vm_rss_bytes)
            .reduce(add)
            .flatten(),
        swap_bytes: sum(|memory| memory.swap_bytes),
        parts,
    })
}

fn suppressed(reports: &[Report]) -> Vec<SuppressedRule> {
    let mut sums: Vec<SuppressedRule> = Vec::new();
    for rule in reports.iter().flat_map(|report| &report.suppressed) {
        match sums.iter_mut().find(|sum| sum.rule == rule.rule) {
            Some(sum) => sum.count += rule.count,
            None => sums.push(rule.clone()),
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, Verdict};
    use crate::render::sample_report;

    fn of(pid: i32, count: u64, verdict: Verdict) -> Report {
        let mut report = sample_report();
        report.process.pid = pid;
        report.findings.truncate(1);
        (report.findings[0].count, report.findings[0].verdict) = (count, verdict);
        report.findings[0].confidence = None;
        report
    }

    #[test]
    fn the_same_site_in_several_is_one_finding() {
        let parts = vec![
            of(10, 5, Verdict::Suspect),
            of(11, 60, Verdict::Leak),
            of(12, 7, Verdict::Leak),
        ];
        let merged = merge(parts).unwrap();
        assert_eq!(merged.process.pid, 10);
        assert_eq!(merged.processes.len(), 3);
        let [finding] = merged.findings.as_slice() else {
            panic!("{:?}", merged.findings)
        };
        assert_eq!((finding.count, finding.verdict), (72, Verdict::Leak));
        let pids: Vec<i32> = finding.processes.iter().map(|share| share.pid).collect();
        assert_eq!(pids, [11, 12, 10]);
        assert!(
            finding
                .summary
                .ends_with("in 3 processes (11: 60, 12: 7, 10: 5)."),
            "{}",
            finding.summary
        );
        assert!(finding.resources.iter().all(|held| held.pid.is_some()));
        assert_eq!(finding.rate_per_hour, Some(3.0 * 144.0));
    }

    #[test]
    fn different_sites_stay_apart_and_one_report_stays_as_it_is() {
        let mut other = of(11, 3, Verdict::Held);
        other.findings[0].id = "files-00000000000000aa".into();
        let merged = merge(vec![of(10, 5, Verdict::Leak), other]).unwrap();
        assert_eq!(merged.findings.len(), 2);
        assert!(
            merged.findings[0]
                .summary
                .ends_with("That is in process 10 alone.")
        );
        let one = of(10, 5, Verdict::Leak);
        assert_eq!(merge(vec![one.clone()]), Some(one));
        assert_eq!(merge(vec![]), None);
    }

    #[test]
    fn the_account_of_memory_adds_up_and_needs_all() {
        let account = |heap, files| Memory {
            rss_bytes: heap + files,
            vm_rss_bytes: Some(heap + files + 1),
            swap_bytes: 2,
            parts: vec![
                MemoryPart {
                    name: PartName::FilesPrivate,
                    bytes: files,
                },
                MemoryPart {
                    name: PartName::LiveHeap,
                    bytes: heap,
                },
            ],
        };
        let mut parts = [(30, 20), (1, 90)].map(|(heap, files)| {
            let mut report = of(heap as i32, 1, Verdict::Leak);
            report.memory = Some(account(heap, files));
            report
        });
        let merged = merge(parts.to_vec()).unwrap().memory.unwrap();
        assert_eq!(
            merged,
            Memory {
                vm_rss_bytes: Some(143),
                swap_bytes: 4,
                ..account(31, 110)
            }
        );
        assert_eq!(
            merged.rss_bytes,
            merged.parts.iter().map(|part| part.bytes).sum::<u64>()
        );
        parts[1].memory = None;
        assert_eq!(merge(parts.to_vec()).unwrap().memory, None);
    }

    #[test]
    fn sums_add_up_and_limits_do_not() {
        let parts = [10, 11].map(|pid| of(pid, 1, Verdict::Leak));
        let single = parts[0].totals.clone();
        let merged = merge(parts.to_vec()).unwrap();
        assert_eq!(merged.totals.rss_bytes, single.rss_bytes.map(|rss| 2 * rss));
        assert_eq!(merged.totals.fd_limit, None);
        let sockets = |totals: &Totals| {
            let held = totals.held.iter().find(|held| held.kind == Kind::Sockets);
            held.map(|held| held.count)
        };
        assert_eq!(sockets(&merged.totals), sockets(&single).map(|n| 2 * n));
        assert_eq!(merged.coverage.notes, parts[0].coverage.notes);
    }
}
