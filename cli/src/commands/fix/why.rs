//! Why there is nothing to fix, and what to do about it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::detect::close_wait::{ages_ms, leaking, least_ms};
use crate::detect::model::Why;
use crate::detect::model::constants::{CLOSE_WAIT_FEWEST, CLOSE_WAIT_FLOOR};
use crate::detect::{Context, Found, Wanted, place};
use crate::model::{Finding, Kind, Report, Verdict};
use crate::snapshot::Snapshot;
use crate::state::Known;
use crate::units::{count, span, spans};

/// Ages that are offered for `--min-age`, and how they are written.
const AGES: [(u64, &str); 8] = [
    (300, "5m"),
    (120, "2m"),
    (60, "1m"),
    (30, "30s"),
    (10, "10s"),
    (5, "5s"),
    (2, "2s"),
    (1, "1s"),
];

/// Why there is nothing to fix, as far as that is known.
pub fn nothing(shown: &Report, leaking: &BTreeSet<Kind>, asked: &[Kind]) -> Vec<String> {
    let why = all_in_all(shown, leaking, asked);
    [Some(why), nearly(shown)].into_iter().flatten().collect()
}

fn all_in_all(shown: &Report, leaking: &BTreeSet<Kind>, asked: &[Kind]) -> String {
    let mut verdicts = shown.findings.iter().map(|one| one.verdict);
    if verdicts.any(|verdict| verdict == Verdict::Leak) {
        return format!(
            "Nothing of what leaks can be fixed; `memguard report {}` shows it.",
            shown.process.pid
        );
    }
    let names = |kinds: Vec<&Kind>| {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        names.join(", ")
    };
    let others = leaking.iter().filter(|kind| !asked.contains(kind));
    let others = names(others.collect());
    match (asked, shown.process.library) {
        ([_, ..], _) if !others.is_empty() => format!(
            "Of {} nothing leaks; but something does of {others}: leave --kind out to see that.",
            names(asked.iter().collect())
        ),
        (_, false) => {
            "memguard's library is not in it, so only what the kernel shows could be judged; \
            nothing of that leaks."
                .to_owned()
        }
        ([_, ..], _) => format!("Of {} nothing leaks.", names(asked.iter().collect())),
        _ => "Nothing leaks.".to_owned(),
    }
}

/// What comes near a leak, where nothing is one.
fn nearly(shown: &Report) -> Option<String> {
    let near = |one: &&Finding| matches!(one.verdict, Verdict::Growing | Verdict::Suspect);
    let places = match shown.findings.iter().filter(near).count() {
        0 => return None,
        1 => "1 place is suspected or growing".to_owned(),
        n => format!("{n} places are suspected or growing"),
    };
    let pid = shown.process.pid;
    Some(format!(
        "{places}, but only what is a `leak` is fixed; see `memguard report {pid}`, and \
         `memguard label leak <finding> {pid}` if you know that it is one."
    ))
}

/// One line on what was found and may leak before long.
pub fn too_soon(
    snapshot: &Snapshot,
    found: &[Found],
    shown: &Report,
    wanted: &Wanted,
    known: &Known,
) -> Option<String> {
    let context = known.context();
    let is_open = |one: &&Found| {
        let said = matches!(one.decision.why, Why::HungUp | Why::Labelled);
        one.kind == Kind::Sockets && one.verdict() >= Verdict::Early && !said
    };
    let mut open: Vec<&Found> = found.iter().filter(is_open).collect();
    open.sort_by_key(|one| Reverse(one.count));
    let standing = |one: &Found| {
        let id = one.id(snapshot);
        let shown = shown.findings.iter().find(|finding| finding.id == id)?;
        let standing = Standing::of(snapshot, one.site, wanted, &context)?;
        Some(standing.sentence(&place(&shown.stack)))
    };
    let first = open.into_iter().find_map(standing);
    first.or_else(|| young(shown, &wanted.kinds))
}

/// Sockets of one site whose peers have gone, and that are no proof yet.
struct Standing {
    count: u64,
    youngest_ms: u64,
    oldest_ms: u64,
    /// From when on they would be proof
    least_ms: u64,
    /// Until they are proof, if time is all that lacks
    wait_ms: Option<u64>,
    /// `--min-age` by which they are proof now
    min_age: Option<&'static str>,
}

impl Standing {
    fn of(
        snapshot: &Snapshot,
        site: usize,
        wanted: &Wanted,
        context: &Context<'_>,
    ) -> Option<Self> {
        let ages = ages_ms(snapshot, &snapshot.sites.all[site], wanted);
        let (youngest_ms, oldest_ms) = (*ages.first()?, *ages.last()?);
        let least_ms = least_ms(&snapshot.sites.all[site], wanted.min_age);
        let leaks = |wanted: &Wanted, later_ms| {
            !leaking(snapshot, site, wanted, context, later_ms).is_empty()
        };
        let younger = |age: u64| Wanted {
            min_age: Some(Duration::from_secs(age)),
            ..wanted.clone()
        };
        let floor = wanted.min_age.unwrap_or(CLOSE_WAIT_FLOOR).as_secs();
        let mut offers = AGES.iter().filter(|(age, _)| *age < floor);
        let offer = offers.find(|(age, _)| leaks(&younger(*age), 0));
        let wait_ms = least_ms.saturating_sub(youngest_ms);
        (ages.len() >= CLOSE_WAIT_FEWEST).then(|| Self {
            count: ages.len() as u64,
            youngest_ms,
            oldest_ms,
            least_ms,
            wait_ms: Some(wait_ms).filter(|wait| *wait > 0 && leaks(wanted, *wait)),
            min_age: offer.map(|(_, written)| *written),
        })
    }

    fn sentence(&self, place: &str) -> String {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let what = format!(
            "{} sockets from {} are in CLOSE_WAIT, for {}",
            count(self.count),
            place,
            spans(seconds(self.youngest_ms), seconds(self.oldest_ms)),
        );
        let least = span(seconds(self.least_ms));
        let offer = self
            .min_age
            .map_or(String::new(), |age| format!(", or give --min-age {age}"));
        match self.wait_ms {
            Some(wait) => format!(
                "{what}; from {least} on they are taken for leaked: ask again in {}{offer}.",
                span(seconds(wait).ceil())
            ),
            None => format!(
                "{what}: they came within {}, too short a time for an age of {least} to show that more keep coming; \
                 ask again when more have come{offer}.",
                span(seconds(self.oldest_ms - self.youngest_ms))
            ),
        }
    }
}

/// What is too young for any verdict: the heap only where it is asked for.
fn young(shown: &Report, asked: &[Kind]) -> Option<String> {
    let is_heap = |kind| matches!(kind, Kind::Memory | Kind::Caches);
    let early = shown.findings.iter().filter(|one| {
        one.verdict == Verdict::Early && (asked.contains(&one.kind) || !is_heap(one.kind))
    });
    let mut early: Vec<&Finding> = early.collect();
    early.sort_by_key(|one| std::cmp::Reverse(one.count));
    let (first, rest) = early.split_first()?;
    let said = &first.summary;
    Some(match rest.len() {
        0 => said.clone(),
        1 => format!("{said} 1 more place is too young, too."),
        n => format!("{said} {n} more places are too young, too."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_a_leak_names_the_process() {
        let mut report = crate::render::samples::report();
        report.process.pid = 4242;
        report.findings.first_mut().unwrap().verdict = Verdict::Suspect;
        let hint = nearly(&report).unwrap();
        assert!(hint.contains("label leak <finding> 4242`"), "{hint}");
    }

    #[test]
    fn that_nothing_is_fixed_says_what_is_known() {
        let mut report = crate::render::samples::report();
        report.findings.clear();
        let files = BTreeSet::from([Kind::Files]);
        let none = BTreeSet::new();
        let said = |leaking, asked: &[Kind]| nothing(&report, leaking, asked).concat();
        assert_eq!(said(&none, &[]), "Nothing leaks.");
        let others = said(&files, &[Kind::Pipes]);
        assert!(
            others.contains("Of pipes nothing leaks") && others.contains("does of files"),
            "{others}"
        );
        assert_eq!(said(&none, &[Kind::Pipes]), "Of pipes nothing leaks.");
        let said = all_in_all(&crate::render::samples::outside(), &none, &[]);
        assert!(said.contains("library is not in it"), "{said}");
    }

    #[test]
    fn what_is_too_young_says_how_long_a_verdict_takes() {
        let mut report = crate::render::samples::report();
        for (at, finding) in report.findings.iter_mut().enumerate() {
            finding.verdict = Verdict::Held;
            if at < 2 {
                (finding.kind, finding.verdict) = (Kind::Files, Verdict::Early);
                (finding.count, finding.summary) = (at as u64 + 1, format!("It takes {at} s."));
            }
        }
        let said = young(&report, &[]).unwrap();
        assert_eq!(said, "It takes 1 s. 1 more place is too young, too.");
        report.findings[1].kind = Kind::Memory;
        assert_eq!(young(&report, &[]).unwrap(), "It takes 0 s.");
        assert!(
            young(&report, &[Kind::Memory])
                .unwrap()
                .contains("takes 1 s")
        );
    }

    #[test]
    fn what_waits_only_for_time_says_how_long() {
        let mut standing = Standing {
            count: 24,
            youngest_ms: 2_100,
            oldest_ms: 4_000,
            least_ms: 5_000,
            wait_ms: Some(2_900),
            min_age: Some("1s"),
        };
        let said = standing.sentence("a.c:7 (ask)");
        let ends = "from 5 s on they are taken for leaked: ask again in 3 s, or give --min-age 1s.";
        assert!(
            said.starts_with("24 sockets from a.c:7 (ask) are in CLOSE_WAIT, for"),
            "{said}"
        );
        assert!(said.ends_with(ends), "{said}");
        (standing.wait_ms, standing.min_age) = (None, None);
        let said = standing.sentence("a.c:7 (ask)");
        assert!(
            said.contains("came within 1.9 s, too short") && said.ends_with("when more have come."),
            "{said}"
        );
    }
}
