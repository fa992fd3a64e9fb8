//! What rules do to a report.

use super::matching::Part;
use super::{Rule, Rules, Then};
use crate::detect::health::health;
use crate::model::{Finding, Report, Resource, SuppressedRule, Verdict};

impl Rules {
    /// Applies all of them in their order, and judges the health anew.
    pub fn apply(&self, report: &mut Report) {
        for rule in &self.rules {
            if rule.when.is_process(&report.process) {
                let hidden = rule.apply(&mut report.findings);
                add(report, &rule.name, hidden);
            }
        }
        for suppression in &self.suppressions {
            let hidden = keep(&mut report.findings, |finding| !suppression.hides(finding));
            add(report, &suppression.name, hidden);
        }
        report.findings.sort_by_key(|finding| finding.verdict);
        report.health = health(report);
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

/// Removes the findings that are not wanted.
fn keep(findings: &mut Vec<Finding>, wanted: impl Fn(&Finding) -> bool) -> Hidden {
    let mut hidden = Hidden::default();
    findings.retain(|finding| {
        let kept = wanted(finding);
        if !kept {
            hidden.findings += 1;
            hidden.objects = hidden.objects.saturating_add(finding.count);
        }
        kept
    });
    hidden
}

impl Rule {
    fn apply(&self, findings: &mut Vec<Finding>) -> Hidden {
        let parts: Vec<Part> = findings.iter().map(|one| self.when.part_of(one)).collect();
        let within = self.within_expected(findings, &parts);
        let mut objects = 0u64;
        for (finding, part) in findings.iter_mut().zip(&parts) {
            let fine = self.then.fine(finding, part, within);
            let count = fine.count(finding);
            objects = objects.saturating_add(count);
            if count > 0 && count < finding.count {
                self.take_out(finding, &fine);
            } else if count > 0 {
                finding.count = 0;
            } else if *part == Part::Whole {
                self.mark(finding, within);
            }
        }
        let gone = keep(findings, |finding| finding.count > 0);
        Hidden {
            findings: gone.findings,
            objects,
        }
    }

    /// `expect` counts all that the rule is about in the process, since a pool
    /// may be filled from several places.
    fn within_expected(&self, findings: &[Finding], parts: &[Part]) -> Option<bool> {
        let counts = findings
            .iter()
            .zip(parts)
            .map(|(one, part)| part.count(one));
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
