//! The report on one look, with all that is known beside it.

use std::collections::{BTreeMap, BTreeSet};

use super::names::names;
use crate::detect::model::Why;
use crate::detect::{
    Context, Found, Label, Symbolise, Wanted, find_all, finding_id, place, report_on,
};
use crate::model::{Finding, Frame, Kind, Report, SuppressedRule, Verdict};
use crate::snapshot::{Site, Snapshot};
use crate::state::process::Decision;
use crate::state::{Known, State};

/// Sites that are given a name at one look, beside those of findings.
const MOST_NAMED: usize = 64;

/// A report, and what it decided of every site, wanted or not.
pub struct Judged {
    /// The report
    pub report: Report,
    decisions: Vec<Decision>,
    places: BTreeMap<String, String>,
}

impl Judged {
    /// Judges a look.
    pub fn of(snapshot: &Snapshot, wanted: &Wanted, known: &Known, no_symbols: bool) -> Self {
        let context = known.context();
        let mut symbols = names(snapshot, no_symbols);
        let found = find_all(snapshot, wanted, &context);
        let decisions = if is_everything(wanted) && context.labels.is_empty() {
            of_all(&found)
        } else {
            decisions(snapshot, wanted, known)
        };
        let mut report = report_on(found, snapshot, wanted, &context, symbols.as_mut());
        let mut places: BTreeMap<String, String> = report
            .findings
            .iter()
            .filter_map(|finding| Some((finding.id.clone(), named(&finding.stack)?)))
            .collect();
        places.extend(of_the_nameless(snapshot, known, symbols.as_mut()));
        hide(&mut report, &context);
        Self {
            report,
            decisions,
            places,
        }
    }

    /// The kinds of which something leaks, also of those that nobody asked for.
    pub fn leaking(&self, snapshot: &Snapshot) -> BTreeSet<Kind> {
        let leaks = self
            .decisions
            .iter()
            .filter(|one| one.verdict == Verdict::Leak);
        leaks
            .filter_map(|one| snapshot.sites.all[one.site].kind)
            .collect()
    }

    /// Keeps what it taught.
    pub fn keep(&self, snapshot: &Snapshot, wanted: &Wanted, state: &mut State) {
        state.keep(snapshot, wanted, &self.decisions, &self.places);
    }
}

/// What the numbers decide does not depend on what somebody wanted to see, nor
/// on what somebody said: else it would outlast a label that is taken back.
fn decisions(snapshot: &Snapshot, wanted: &Wanted, known: &Known) -> Vec<Decision> {
    let context = Context {
        labels: BTreeMap::new(),
        ..known.context()
    };
    let everything = Wanted {
        kinds: Vec::new(),
        born_after_ms: None,
        all: true,
        ..wanted.clone()
    };
    of_all(&find_all(snapshot, &everything, &context))
}

/// Of a site only what the numbers say: of what a fix has ended they say nothing.
fn of_all(found: &[Found]) -> Vec<Decision> {
    let judged = found.iter().filter(|one| one.decision.why != Why::HungUp);
    judged.map(decision).collect()
}

/// Whether no site is left out. On a large heap looking twice would take long.
fn is_everything(wanted: &Wanted) -> bool {
    wanted.kinds.is_empty() && wanted.born_after_ms.is_none()
}

fn decision(found: &Found) -> Decision {
    Decision {
        site: found.site,
        verdict: found.verdict(),
    }
}

/// None while it is only a file and an offset.
fn named(stack: &[Frame]) -> Option<String> {
    stack
        .iter()
        .any(|frame| frame.function.is_some())
        .then(|| place(stack))
}

/// Sites that give back all they make are in no finding. Some of them are
/// named at each look, until all are.
fn of_the_nameless(
    snapshot: &Snapshot,
    known: &Known,
    symbols: &mut dyn Symbolise,
) -> Vec<(String, String)> {
    let nameless = |site: &Site| {
        let id = finding_id(site.kind?, site.key);
        let known = known.program.sites.get(&id);
        let wanted = site.stats.deaths > 0 && known.is_none_or(|known| known.place.is_none());
        wanted.then_some((id, site.frames.clone()))
    };
    let sites = snapshot.sites.all.iter().filter_map(nameless);
    sites
        .take(MOST_NAMED)
        .filter_map(|(id, frames)| Some((id, named(&symbols.stack(&snapshot.modules, &frames))?)))
        .collect()
}

/// What somebody labelled as meant to be held is not shown, only counted.
fn hide(report: &mut Report, context: &Context<'_>) {
    let shown = |finding: &Finding| {
        finding.verdict != Verdict::Held || context.labels.get(&finding.id) != Some(&Label::Ok)
    };
    let all = std::mem::take(&mut report.findings);
    let (shown, hidden): (Vec<Finding>, Vec<Finding>) = all.into_iter().partition(shown);
    report.findings = shown;
    if !hidden.is_empty() {
        report.suppressed.push(SuppressedRule {
            rule: "memguard label ok".to_owned(),
            count: hidden.len() as u64,
            objects: hidden.iter().map(|finding| finding.count).sum(),
        });
    }
}
