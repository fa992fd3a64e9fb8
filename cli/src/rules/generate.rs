//! Rules for findings, to paste into `memguard.toml`.
//!
//! A rule is as short as it can be while it hides nothing else of the report:
//! by the function that made the things; else by that and its source file;
//! else by the innermost calls, one more at a time; else by the finding's id,
//! which holds for one build only.

use std::fmt::Write as _;

use super::Rules;
use super::matching::{Part, nameless};
use super::pattern::plain;
use crate::detect::place::own_frame;
use crate::model::{Finding, Frame, Report, Verdict};
use crate::render::safe::safe;

/// Calls that a rule names at most.
const CALLS: usize = 16;

/// Rules that hide those findings of the report that are shown in full: the
/// judged ones or, if wanted, all.
#[must_use]
pub fn rules_for(report: &Report, all: bool) -> String {
    let shown: Vec<bool> = report
        .findings
        .iter()
        .map(|finding| all || finding.verdict < Verdict::Early)
        .collect();
    let (mut text, mut written) = (String::new(), Rules::default());
    for (finding, _) in report
        .findings
        .iter()
        .zip(&shown)
        .filter(|(_, shown)| **shown)
    {
        if !hides(&written, report, finding) {
            let rule = rule_for(report, finding, &shown);
            written
                .rules
                .extend(parsed(&rule).into_iter().flat_map(|one| one.rules));
            text.push_str(&rule);
        }
    }
    if text.is_empty() {
        "# There is nothing to hide.\n".to_owned()
    } else {
        format!("# Rules for memguard.toml; keep those whose findings are fine.\n{text}")
    }
}

fn rule_for(report: &Report, finding: &Finding, shown: &[bool]) -> String {
    let process = quoted(&plain(report.process.name()));
    let exact = |keys: &String| {
        let rule = with_action(&process, finding, keys);
        parsed(&rule).is_some_and(|rules| hides_only(&rules, report, finding, shown))
    };
    let by_id = || format!("id = {}\n", quoted(&finding.id));
    let keys = candidates(finding).find(exact).unwrap_or_else(by_id);
    let head = format!(
        "{}: {} {}. {}",
        finding.verdict.name(),
        finding.count,
        finding.kind.noun(finding.count),
        finding.summary
    );
    format!(
        "\n# {}\n{}",
        comment(&head),
        with_action(&process, finding, &keys)
    )
}

fn with_action(process: &str, finding: &Finding, keys: &str) -> String {
    let kind = quoted(finding.kind.name());
    format!("[[rule]]\nprocess = {process}\nkind = {kind}\n{keys}ignore = true\n")
}

/// From the most general to the most special.
fn candidates(finding: &Finding) -> impl Iterator<Item = String> + '_ {
    let own = own_frame(&finding.stack);
    let function = own.and_then(|frame| frame.function.as_deref());
    let function = function.map(|name| format!("function = {}\n", quoted(&plain(name))));
    let file = own.and_then(|frame| frame.file.as_deref());
    let file = file.and_then(|path| path.rsplit('/').next());
    let with_file = function
        .as_ref()
        .zip(file)
        .map(|(function, file)| format!("{function}file = {}\n", quoted(&plain(file))));
    let depths = 1..=finding.stack.len().min(CALLS);
    let by_calls = depths.map(|depth| calls(&finding.stack[..depth]));
    function.into_iter().chain(with_file).chain(by_calls)
}

fn calls(stack: &[Frame]) -> String {
    let names = stack
        .iter()
        .map(|frame| frame.function.clone().unwrap_or_else(|| nameless(frame)));
    let names: Vec<String> = names.map(|name| quoted(&plain(&name))).collect();
    format!("stack = [{}]\n", names.join(", "))
}

fn parsed(text: &str) -> Option<Rules> {
    Some(Rules {
        rules: super::toml::parse("memguard.toml", text).ok()?,
        suppressions: Vec::new(),
        limits: super::Limits::default(),
    })
}

fn hides(rules: &Rules, report: &Report, finding: &Finding) -> bool {
    rules.rules.iter().any(|rule| {
        rule.when.is_process(&report.process) && rule.when.part_of(finding) == Part::Whole
    })
}

/// It hides the one, and none that is not shown.
fn hides_only(rules: &Rules, report: &Report, one: &Finding, shown: &[bool]) -> bool {
    let mut others = report.findings.iter().zip(shown);
    hides(rules, report, one) && others.all(|(other, shown)| *shown || !hides(rules, report, other))
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A text on one line, without what a comment may not hold.
fn comment(text: &str) -> String {
    let text = text.replace('\u{a0}', " ");
    safe(&text).replace(char::is_control, " ")
}

#[cfg(test)]
mod tests;
