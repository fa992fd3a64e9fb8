//! What rules do to a report.

use super::index::Index;
use super::lsan::Suppression;
use super::matching::Part;
use super::{Rule, Rules, Then};
use crate::detect::health::health;
use crate::model::{Finding, Report, Resource, SuppressedRule, Verdict};

impl Rules {
    /// Applies all of them in their order, and judges the health anew.
    pub fn apply(&self, report: &mut Report) {
        let index = Index::of(self, &report.findings);
        let mut findings = Findings::of(std::mem::take(&mut report.findings));
        for (at, rule) in self.rules.iter().enumerate() {
            if rule.when.is_process(&report.process) {
                let hidden = rule.apply(&mut findings, index.about(at));
                add(report, &rule.name, hidden);
            }
        }
        for (at, suppression) in self.suppressions.iter().enumerate() {
            let about = index.about(self.rules.len() + at);
            let hidden = findings.suppress(suppression, about);
            add(report, &suppression.name, hidden);
        }
        report.findings = findings.left();
        report.findings.sort_by_key(|finding| finding.verdict);
        report.health = health(report);
    }
}

/// The findings of a report, in their places, and which are hidden.
struct Findings {
    all: Vec<Finding>,
    hidden: Vec<bool>,
}

impl Findings {
    fn of(all: Vec<Finding>) -> Self {
        let hidden = vec![false; all.len()];
        Self { all, hidden }
    }

    /// Those of some places that are still shown.
    fn shown(&self, places: &[usize]) -> Vec<usize> {
        let places = places.iter().copied();
        places.filter(|at| !self.hidden[*at]).collect()
    }

    fn suppress(&mut self, suppression: &Suppression, about: &[usize]) -> Hidden {
        let mut hidden = Hidden::default();
        for at in self.shown(about) {
            if suppression.hides(&self.all[at]) {
                hidden.findings += 1;
                hidden.objects = hidden.objects.saturating_add(self.all[at].count);
                self.hidden[at] = true;
            }
        }
        hidden
    }

    fn left(self) -> Vec<Finding> {
        let both = self.all.into_iter().zip(self.hidden);
        both.filter(|(_, hidden)| !hidden)
            .map(|(finding, _)| finding)
            .collect()
    }
}

/// How much was hidden.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Hidden {
    findings: u64,
    objects: u64,
}

fn add(report: &mut Report, rule: &str, hidden: Hidden) {
    if hidden != Hidden::default() {
        report.suppressed.push(SuppressedRule {
            rule: rule.to_owned(),
            count: hidden.findings,
            objects: hidden.objects,
        });
    }
}

impl Rule {
    fn apply(&self, findings: &mut Findings, about: &[usize]) -> Hidden {
        let about = findings.shown(about);
        let part = |at: &usize| self.when.part_of(&findings.all[*at]);
        let parts: Vec<Part> = about.iter().map(part).collect();
        let within = self.within_expected(&findings.all, &about, &parts);
        let mut hidden = Hidden::default();
        for (at, part) in about.into_iter().zip(&parts) {
            let finding = &mut findings.all[at];
            let fine = self.then.fine(finding, part, within);
            let count = fine.count(finding);
            hidden.objects = hidden.objects.saturating_add(count);
            if count > 0 && count < finding.count {
                self.take_out(finding, &fine);
            } else if count > 0 {
                findings.hidden[at] = true;
                hidden.findings += 1;
            } else if *part == Part::Whole {
                self.mark(finding, within);
            }
        }
        hidden
    }

    /// `expect` counts all that the rule is about in the process, since a pool
    /// may be filled from several places.
    fn within_expected(&self, all: &[Finding], about: &[usize], parts: &[Part]) -> Option<bool> {
        let counts = about
            .iter()
            .zip(parts)
            .map(|(at, part)| part.count(&all[*at]));
        let held = counts.fold(0, u64::saturating_add);
        self.then.expect.map(|expected| held <= expected)
    }

    /// Takes some objects out of a finding. Its rate is shared out evenly.
    fn take_out(&self, finding: &mut Finding, fine: &Part) {
        let Part::Objects(fine) = fine else {
            return;
        };
        let before = finding.count;
        let mut at = 0;
        finding.resources.retain(|_| {
            at += 1;
            fine.binary_search(&(at - 1)).is_err()
        });
        finding.count -= fine.len() as u64;
        let share = finding.count as f64 / before as f64;
        finding.bytes = finding
            .bytes
            .map(|bytes| (bytes as f64 * share).round() as u64);
        finding.rate_per_hour = finding.rate_per_hour.map(|rate| rate * share);
        finding.exhaustion_s = finding.exhaustion_s.map(|left| left / share);
        let hidden = fine.len();
        let fact = format!("{hidden} of {before} are fine by the rule {}.", self.name);
        finding.evidence.push(fact);
    }

    /// Severity and label of a finding that the rule is wholly about.
    fn mark(&self, finding: &mut Finding, within: Option<bool>) {
        if let (Some(false), Some(expected)) = (within, self.then.expect) {
            let fact = format!(
                "More are held than the {expected} that the rule {} expects.",
                self.name
            );
            finding.evidence.push(fact);
        }
        finding.labels.extend(self.then.label.clone());
        let judged = finding.verdict != Verdict::Early;
        let shown = self
            .then
            .severity
            .filter(|shown| judged && *shown != finding.verdict);
        let Some(shown) = shown else {
            return;
        };
        let (own, shown_name) = (finding.verdict.name(), shown.name());
        let fact = format!(
            "Shown as {shown_name} by the rule {}; memguard's own verdict is {own}.",
            self.name
        );
        finding.evidence.push(fact);
        finding.verdict = shown;
        // Only what memguard itself is sure of may be acted on.
        finding.fixable = false;
    }
}

impl Then {
    /// What of the part is fine, and so hidden.
    fn fine(&self, finding: &Finding, part: &Part, within: Option<bool>) -> Part {
        if self.ignore || within == Some(true) {
            return part.clone();
        }
        let harmless = self.harmless(finding, part);
        let left = part.count(finding).saturating_sub(harmless.count(finding));
        match self.min_count {
            Some(least) if left < least => part.clone(),
            _ => harmless,
        }
    }

    /// Those of the part that are too young or were used too lately. What has
    /// no age, or no known use, counts.
    fn harmless(&self, finding: &Finding, part: &Part) -> Part {
        let below = |figure: Option<f64>, least: Option<f64>| {
            figure
                .zip(least)
                .is_some_and(|(figure, least)| figure < least)
        };
        let fine = |object: &Resource| {
            below(object.age_s, self.min_age_s) || below(object.idle_s, self.min_idle_s)
        };
        Part::of(finding, |at, object| part.has(at) && fine(object))
    }
}

#[cfg(test)]
mod tests;
