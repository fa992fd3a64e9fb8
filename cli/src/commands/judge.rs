//! The report on one look, with all that is known beside it.

use super::names::names;
use crate::detect::{Context, Label, Wanted, find, place, report};
use crate::model::{Report, SuppressedRule, Verdict};
use crate::snapshot::Snapshot;
use crate::state::process::Decision;
use crate::state::{Known, State};

/// A report, and what it decided of every site, wanted or not.
pub struct Judged {
    /// The report
    pub report: Report,
    decisions: Vec<Decision>,
}

impl Judged {
    /// Judges a look.
    pub fn of(snapshot: &Snapshot, wanted: &Wanted, known: &Known, no_symbols: bool) -> Self {
        let context = known.context();
        let mut symbols = names(snapshot, no_symbols);
        let mut report = report(snapshot, wanted, &context, symbols.as_mut());
        let decisions = decisions(snapshot, wanted, &context, &report);
        hide(&mut report, &context);
        Self { report, decisions }
    }

    /// Keeps what it taught.
    pub fn keep(&self, snapshot: &Snapshot, wanted: &Wanted, state: &mut State) {
        state.keep(snapshot, wanted, &self.decisions);
    }
}

/// What is decided does not depend on what somebody wanted to see.
fn decisions(
    snapshot: &Snapshot,
    wanted: &Wanted,
    context: &Context<'_>,
    report: &Report,
) -> Vec<Decision> {
    let everything = Wanted {
        kinds: Vec::new(),
        born_after_ms: None,
        all: true,
        ..wanted.clone()
    };
    let (found, _) = find(snapshot, &everything, context);
    let decision = |found: &crate::detect::Found| {
        let key = snapshot.sites.all[found.site].key;
        let id = crate::detect::finding_id(found.kind, key);
        let shown = report.findings.iter().find(|finding| finding.id == id);
        let named = shown.filter(|shown| shown.stack.iter().any(|frame| frame.function.is_some()));
        Decision {
            site: found.site,
            kind: found.kind,
            verdict: found.verdict,
            count: found.count,
            place: named.map(|shown| place(&shown.stack)),
        }
    };
    found.iter().map(decision).collect()
}

/// What somebody labelled as meant to be held is not shown, only counted.
fn hide(report: &mut Report, context: &Context<'_>) {
    let before = report.findings.len();
    report.findings.retain(|finding| {
        finding.verdict != Verdict::Held || context.labels.get(&finding.id) != Some(&Label::Ok)
    });
    let hidden = before - report.findings.len();
    if hidden > 0 {
        report.suppressed.push(SuppressedRule {
            rule: "memguard label ok".to_owned(),
            count: hidden as u64,
        });
    }
}
