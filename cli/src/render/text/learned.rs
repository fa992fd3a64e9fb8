//! What earlier runs taught and what people said, for people.

use super::super::Layout;
use super::style::{FAINT, STRONG, paint};
use super::wrap::wrap;
use crate::model::{Labelled, Labels, Learned, LearnedProgram, LearnedSite};
use crate::render::line;
use crate::render::safe::safe;
use crate::units::{count, life, span};

/// Every program, and its sites.
pub fn programs(learned: &Learned, layout: Layout) -> String {
    let mut out = String::new();
    if learned.programs.is_empty() {
        let text = "Nothing has been learned yet; `memguard report` learns while a program runs.";
        out.push_str(&wrap(text, 0, layout.width));
    }
    for (at, program) in learned.programs.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        one(&mut out, program, layout);
    }
    notes(&mut out, &learned.notes, layout);
    out
}

fn one(out: &mut String, program: &LearnedProgram, layout: Layout) {
    let runs = if program.runs == 1 { "run" } else { "runs" };
    let head = format!(
        "{} {runs}, the last heard of {:.0}, build {}",
        count(program.runs),
        program.updated_at,
        program.build
    );
    let name = paint(STRONG, safe(&program.name));
    line(out, format_args!("{name}  {head}"));
    for site in &program.sites {
        let place = site.place.as_deref().unwrap_or("a place without a name");
        let head = format!("  {}  {}", site.id, safe(place));
        line(out, format_args!("{head}"));
        out.push_str(&wrap(&facts(site).join("; "), 4, layout.width));
    }
}

/// `9 940 closed: 90 % lived 2.1 s, 99 % 3 s, the longest 4 s`
fn facts(site: &LearnedSite) -> Vec<String> {
    let mut facts = Vec::new();
    if site.closes > 0 {
        facts.push(format!(
            "{} closed: 90 % lived {}, 99 % {}, the longest {}",
            count(site.closes),
            life(site.p90_s),
            life(site.p99_s),
            life(site.longest_s)
        ));
    }
    if site.woken_gap_s > 0.0 {
        facts.push(format!("used again after {} idle", span(site.woken_gap_s)));
    }
    facts.extend(
        site.plateau
            .map(|most| format!("steady at up to {}", count(most))),
    );
    if site.false_alarm {
        facts.push("was once called leaked and was not".to_owned());
    }
    facts.extend(site.label.map(|label| format!("labelled {}", name(label))));
    facts.extend(
        site.verdicts
            .last()
            .map(|verdict| format!("last {}", verdict.name())),
    );
    facts
}

fn name(label: crate::detect::Label) -> &'static str {
    match label {
        crate::detect::Label::Ok => "ok",
        crate::detect::Label::Leak => "leak",
    }
}

/// One line a label.
pub fn labels(labels: &Labels, layout: Layout) -> String {
    let mut out = String::new();
    if labels.labels.is_empty() {
        let text = "Nothing is labelled; `memguard label ok FINDING` hides a finding for good.";
        out.push_str(&wrap(text, 0, layout.width));
    }
    for said in &labels.labels {
        let program = only_in(said, &labels.labels);
        let place = said
            .place
            .as_deref()
            .map(|place| format!("  {}", safe(place)));
        let since = paint(FAINT, format!("since {:.0}{program}", said.at));
        line(
            &mut out,
            format_args!(
                "{:<5} {}{}  {since}",
                name(said.label),
                said.id,
                place.unwrap_or_default()
            ),
        );
    }
    notes(&mut out, &labels.notes, layout);
    out
}

/// `, only in python3 app.py`; two of one name go by their builds, too.
fn only_in(said: &Labelled, all: &[Labelled]) -> String {
    let name = said.title.as_ref().or(said.name.as_ref());
    let (Some(build), name) = (&said.build, name) else {
        return String::new();
    };
    let Some(name) = name else {
        return format!(", only in build {build}");
    };
    let other = |one: &Labelled| {
        let named = one.title.as_ref().or(one.name.as_ref()) == Some(name);
        named && one.build.as_ref() != Some(build)
    };
    match all.iter().any(other) {
        true => format!(", only in {} (build {build})", safe(name)),
        false => format!(", only in {}", safe(name)),
    }
}

fn notes(out: &mut String, notes: &[String], layout: Layout) {
    for note in notes {
        out.push_str(&wrap(&safe(note), 0, layout.width));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_two_programs_of_one_name_go_by_their_builds() {
        let said = |build: Option<&str>, title: Option<&str>| Labelled {
            id: "files-1".into(),
            label: crate::detect::Label::Leak,
            build: build.map(Into::into),
            name: None,
            title: title.map(Into::into),
            place: None,
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        let app = Some("python3 app.py");
        let all = [
            said(Some("a1"), app),
            said(Some("b2"), app),
            said(Some("c3"), Some("server")),
            said(Some("d4"), None),
            said(None, None),
        ];
        let told: Vec<String> = all.iter().map(|one| only_in(one, &all)).collect();
        let wanted = [
            ", only in python3 app.py (build a1)",
            ", only in python3 app.py (build b2)",
            ", only in server",
            ", only in build d4",
            "",
        ];
        assert_eq!(told, wanted);
    }
}
