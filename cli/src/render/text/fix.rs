//! A plan for people, and what came of it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Layout;
use super::style::{FAINT, GOOD, STRONG, paint};
use super::table::{Cell, Column, Cut, elastic, left, right, table};
use super::wrap::wrap;
use crate::model::{FixGate, FixItem, FixOutcome, FixReport, FixStep};
use crate::render::safe::safe;
use crate::units::{bytes, count, span};

const COLUMNS: [Column; 5] = [
    right("FD"),
    left("KIND").spare(2),
    elastic("OBJECT", Cut::Front),
    left("ACTION").spare(1),
    elastic("RESULT", Cut::Wrap),
];
const REASONS: [Column; 5] = [
    right("REFUSED"),
    left("KIND").spare(1),
    left("ACTION").spare(2),
    left("GATE"),
    elastic("SUCH AS", Cut::Wrap),
];
/// Rows shown of those that pass.
const ROWS: usize = 20;
/// More that are refused than these are summed up.
const REFUSED_ROWS: usize = 8;

/// The whole text.
pub fn text(fix: &FixReport, layout: Layout) -> String {
    let mut out = String::new();
    head(&mut out, fix, layout.width);
    of_process(&mut out, fix, layout.width);
    let most = if layout.all { usize::MAX } else { ROWS };
    let (pass, shut): (Vec<&FixItem>, Vec<&FixItem>) =
        fix.items.iter().partition(|item| item.passes());
    let summed_up = shut.len() > most.min(REFUSED_ROWS);
    let single = if summed_up { &[][..] } else { &shut };
    items(
        &mut out,
        fix,
        pass.iter().take(most).chain(single),
        layout.width,
    );
    if pass.len() > most {
        let rest = count((pass.len() - most) as u64);
        let such = match was_carried_out(fix) {
            true => format!(": {}", became(pass.iter().skip(most).copied())),
            false => " that pass".to_owned(),
        };
        out.push_str(&wrap(&format!("… and {rest} more{such}"), 0, layout.width));
    }
    if summed_up {
        reasons(&mut out, &shut, layout.width);
    }
    gates(&mut out, fix, layout.width);
    super::caches::plan(&mut out, fix, layout.width);
    limit(&mut out, fix, layout.width);
    search(&mut out, fix, layout.width);
    sums(&mut out, fix, layout.width);
    took(&mut out, fix, layout.width);
    meanings(&mut out, fix, layout.width);
    for note in fix.stopped.iter().map(|why| format!("Stopped: {why}.")) {
        out.push_str(&wrap(&safe(&note), 0, layout.width));
    }
    for note in &fix.notes {
        out.push_str(&wrap(&safe(note), 0, layout.width));
    }
    out
}

fn head(out: &mut String, fix: &FixReport, width: usize) {
    let name = safe(fix.process.name()).into_owned();
    let (pass, all) = (passing(fix), fix.items.len());
    let said = match (all, fix.dry_run) {
        (0, _) if !fix.caches.is_empty() => "what gives memory back".to_owned(),
        (0, _) if fix.limit.is_some() => "the limit on descriptors".to_owned(),
        // Why stands in the notes.
        (0, _) => "there is nothing to fix".to_owned(),
        (_, true) => format!(
            "{} of {} objects would be touched",
            count(pass),
            count(all as u64)
        ),
        _ if was_carried_out(fix) => said_of(fix),
        _ => format!(
            "{} of {} objects pass every gate",
            count(pass),
            count(all as u64)
        ),
    };
    let said = format!("{name}  pid {}: {said}.", fix.process.pid);
    let text = wrap(&said.replacen("  ", "\u{a0}\u{a0}", 1), 0, width);
    let text = text.replacen("\u{a0}\u{a0}", "  ", 1);
    match text.strip_prefix(&name) {
        Some(rest) => out.push_str(&format!("{}{rest}", paint(STRONG, &name))),
        None => out.push_str(&text),
    }
}

/// Whether it is more than a plan by now.
fn was_carried_out(fix: &FixReport) -> bool {
    fix.stopped.is_some() || fix.items.iter().any(|item| item.outcome.is_some())
}

/// `12 of 15 objects were fixed; the others: 2 retired, in quarantine, 1 refused`
fn said_of(fix: &FixReport) -> String {
    let is_fixed = |item: &&FixItem| item.outcome.is_some_and(FixOutcome::is_fix);
    let (fixed, others): (Vec<&FixItem>, Vec<&FixItem>) = fix.items.iter().partition(is_fixed);
    let all = count(fix.items.len() as u64);
    let rest = became(others.iter().copied());
    match (fixed.len(), others.len()) {
        (0, _) => format!("none of {all} objects was fixed: {rest}"),
        (1, 0) => "the one object was fixed".to_owned(),
        (_, 0) => format!("all {all} objects were fixed"),
        (1, _) => format!("1 of {all} objects was fixed; the others: {rest}"),
        (n, _) => format!(
            "{} of {all} objects were fixed; the others: {rest}",
            count(n as u64)
        ),
    }
}

/// How many came to what, the most first.
fn became<'a>(items: impl Iterator<Item = &'a FixItem>) -> String {
    let mut counts: BTreeMap<Option<FixOutcome>, u64> = BTreeMap::new();
    items.for_each(|item| *counts.entry(item.outcome).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let words = |outcome: Option<FixOutcome>| match outcome {
        None => "not touched",
        Some(FixOutcome::Refused) => "refused",
        Some(outcome) => outcome.words(),
    };
    let each = counts
        .into_iter()
        .map(|(outcome, n)| format!("{} {}", count(n), words(outcome)));
    each.collect::<Vec<_>>().join(", ")
}

/// What refuses objects whatever they are, once.
fn of_process(out: &mut String, fix: &FixReport, width: usize) {
    let mut shut: Vec<(&FixGate, u64)> = Vec::new();
    let gates = fix.items.iter().flat_map(|item| &item.gates);
    for gate in gates.filter(|gate| gate.is_of_process()) {
        match shut.iter_mut().find(|(one, _)| *one == gate) {
            Some((_, n)) => *n += 1,
            None => shut.push((gate, 1)),
        }
    }
    for (gate, n) in shut {
        let n = if n == fix.items.len() as u64 {
            "all".to_owned()
        } else {
            count(n)
        };
        let said = format!(
            "Whatever their age, {n} are refused by `{}`: {}.",
            gate.name, gate.fact
        );
        out.push_str(&wrap(&safe(&said), 0, width));
    }
}

fn passing(fix: &FixReport) -> u64 {
    fix.items.iter().filter(|item| item.passes()).count() as u64
}

fn items<'a>(
    out: &mut String,
    fix: &FixReport,
    items: impl Iterator<Item = &'a &'a FixItem>,
    width: usize,
) {
    let rows: Vec<Vec<Cell>> = items.map(|item| row(fix, item)).collect();
    if !rows.is_empty() {
        out.push_str(&table(&COLUMNS, &rows, width));
    }
}

/// Those that the same gate refuses make one row, the most first.
fn reasons(out: &mut String, shut: &[&FixItem], width: usize) {
    let mut groups: BTreeMap<_, Vec<&FixItem>> = BTreeMap::new();
    for item in shut {
        let gate = item.refused_by().map_or("", |gate| gate.name.as_str());
        let group = (item.kind, item.action.words(), gate);
        groups.entry(group).or_default().push(item);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, items)| std::cmp::Reverse(items.len()));
    let rows = groups.iter().map(|((kind, action, gate), items)| {
        let first = items.first().and_then(|item| item.refused_by());
        let fact = first.map_or("", reason);
        vec![
            count(items.len() as u64).into(),
            kind.name().into(),
            (*action).into(),
            safe(gate).into_owned().into(),
            Cell::styled(safe(fact).into_owned(), FAINT),
        ]
    });
    out.push_str(&table(&REASONS, &rows.collect::<Vec<_>>(), width));
}

/// The fact, unless it stands at the top.
fn reason(gate: &FixGate) -> &str {
    if gate.is_of_process() {
        "see above"
    } else {
        &gate.fact
    }
}

fn row(fix: &FixReport, item: &FixItem) -> Vec<Cell> {
    vec![
        item.fd.map(|fd| fd.to_string()).unwrap_or_default().into(),
        item.kind.name().into(),
        safe(&item.what).into_owned().into(),
        item.action.words().into(),
        result(fix, item),
    ]
}

fn result(fix: &FixReport, item: &FixItem) -> Cell {
    match (item.outcome, item.refused_by()) {
        (None | Some(FixOutcome::Refused), Some(gate)) => Cell::styled(
            safe(&format!("{}: {}", gate.name, reason(gate))).into_owned(),
            FAINT,
        ),
        (Some(outcome), _) if outcome.is_fix() => Cell::styled(outcome.words(), GOOD),
        (Some(outcome), _) => {
            let words = match outcome {
                // No gate of the plan: the library, or the last look before acting.
                FixOutcome::Refused => "refused",
                other => other.words(),
            };
            // That one is explained below.
            let detail = item.detail.as_deref();
            let detail = detail.filter(|_| outcome != FixOutcome::Neutered);
            let detail = detail.map(|why| format!(": {why}"));
            safe(&format!("{words}{}", detail.unwrap_or_default()))
                .into_owned()
                .into()
        }
        (None, None) if fix.stopped.is_some() => Cell::styled("not touched", FAINT),
        (None, None) => "all gates open".into(),
    }
}

/// Every gate of the first item that passes: what speaks for acting at all.
fn gates(out: &mut String, fix: &FixReport, width: usize) {
    let planned = fix
        .items
        .iter()
        .find(|item| item.passes() && item.outcome.is_none() && fix.stopped.is_none());
    let Some(item) = planned else { return };
    let of = match (item.fd, item.entry) {
        (Some(fd), Some(entry)) => format!("Every gate of number {entry} in epoll {fd}:"),
        (Some(fd), None) => format!("Every gate of descriptor {fd}:"),
        _ => "Every gate of the first:".to_owned(),
    };
    out.push_str(&wrap(&of, 0, width));
    let names = item.gates.iter().map(|gate| gate.name.chars().count());
    let indent = names.max().unwrap_or(0) + 4;
    for gate in &item.gates {
        let fact = wrap(&safe(&gate.fact), indent, width);
        let name = format!("  {}", safe(&gate.name));
        out.push_str(&format!("{name:<indent$}{}", fact.trim_start_matches(' ')));
    }
}

/// The limit on descriptors, where it was asked for.
fn limit(out: &mut String, fix: &FixReport, width: usize) {
    let Some(limit) = &fix.limit else { return };
    let shut = limit.gates.iter().find(|gate| !gate.open);
    let said = match (shut, limit.raised) {
        (Some(gate), _) => format!("not raised: {}", gate.fact),
        (None, None) => format!("{} -> {}, which it may have", limit.from, limit.to),
        (None, Some(true)) => format!("raised from {} to {}", limit.from, limit.to),
        (None, Some(false)) => {
            let why = limit.detail.as_deref().unwrap_or("the kernel refused");
            format!("not raised: {why}")
        }
    };
    out.push_str(&wrap(
        &safe(&format!("Limit on descriptors: {said}.")),
        0,
        width,
    ));
}

/// What was searched for lost numbers, and how little that held the program up.
fn search(out: &mut String, fix: &FixReport, width: usize) {
    let Some(search) = &fix.search else { return };
    let missed = search.missed.as_deref().map(|why| format!(" But {why}."));
    let said = format!(
        "Searched {} of memory for {} numbers in {}; a thread stood still for {:.1} ms at most.{}",
        bytes(search.bytes),
        count(search.numbers),
        span(search.took_ms / 1e3),
        search.longest_stop_ms,
        missed.unwrap_or_default(),
    );
    out.push_str(&wrap(&safe(&said), 0, width));
}

/// What each outcome means, once.
fn meanings(out: &mut String, fix: &FixReport, width: usize) {
    let outcomes: BTreeSet<FixOutcome> = fix.items.iter().filter_map(|item| item.outcome).collect();
    for said in outcomes.into_iter().map(FixOutcome::meaning) {
        out.push_str(&wrap(said, 0, width));
    }
}

/// What they came to, all sorts of fixes apart. Without any the head has said it.
fn sums(out: &mut String, fix: &FixReport, width: usize) {
    use FixOutcome::*;
    if !fix
        .items
        .iter()
        .any(|item| item.outcome.is_some_and(FixOutcome::is_fix))
    {
        return;
    }
    let all = [
        ClosedByOwner,
        Disarmed,
        Removed,
        ClosedLost,
        ClosedRetired,
        Retired,
        Neutered,
        GivenBack,
        Restored,
        Pending,
        Vanished,
        ByAnother,
        Failed,
        NotLogged,
        Refused,
    ];
    let counted: Vec<String> = all
        .into_iter()
        .map(|outcome| (fix.count(outcome), outcome))
        .filter(|(n, _)| *n > 0)
        .map(|(n, outcome)| format!("{} {}", count(n as u64), outcome.words()))
        .collect();
    if !counted.is_empty() {
        out.push_str(&wrap(&format!("{}.", counted.join(", ")), 0, width));
    }
}

/// Where the time of a fix went that touched something.
fn took(out: &mut String, fix: &FixReport, width: usize) {
    let Some(took) = fix.took.as_ref().filter(|took| !took.steps.is_empty()) else {
        return;
    };
    let of = |part: fn(&FixStep) -> f64| span(took.steps.iter().map(part).sum::<f64>() / 1e3);
    let said = format!(
        "Took {}: {} to act and {} to write it down, {} until it was known what came of it, {} to watch the program.",
        span(took.whole_ms / 1e3),
        of(|step| step.act_ms),
        of(|step| step.log_ms),
        of(|step| step.verify_ms),
        of(|step| step.watch_ms),
    );
    out.push_str(&wrap(&said, 0, width));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Fix;

    fn gate(name: &str, open: bool, fact: &str) -> FixGate {
        FixGate {
            name: name.into(),
            open,
            fact: fact.into(),
        }
    }

    fn item(fd: i32, gates: Vec<FixGate>) -> FixItem {
        let text = r#"{"finding": "sockets-1", "kind": "sockets", "action": "eof", "fd": 0, "what": "a -> b",
            "object": [1, 2], "gates": [], "outcome": null}"#;
        let blank: FixItem = serde_json::from_str(text).unwrap();
        FixItem {
            fd: Some(fd),
            gates,
            ..blank
        }
    }

    fn plan(items: Vec<FixItem>) -> FixReport {
        FixReport {
            items,
            ..crate::render::samples::fix()
        }
    }

    #[test]
    fn thousands_that_one_gate_refuses_are_one_row_and_every_line_fits() {
        let young =
            "a sentence that goes on and on until it does not fit any screen that there is at all";
        let refused = |name| {
            move |fd| {
                item(
                    fd,
                    vec![gate("verdict", true, "leak"), gate(name, false, young)],
                )
            }
        };
        let mut items: Vec<FixItem> = (0..3000).map(refused("age")).collect();
        items.extend((3000..3007).map(refused("owner")));
        items.push(item(4000, vec![gate("verdict", true, young)]));
        let styled = text(
            &plan(items),
            Layout {
                width: 80,
                all: false,
            },
        );
        let text = anstream::adapter::strip_str(&styled).to_string();
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows.len() < 20, "{text}");
        assert!(rows.iter().all(|row| row.chars().count() <= 80), "{text}");
        let has = |words: &[&str]| {
            rows.iter()
                .any(|row| words.iter().all(|word| row.contains(word)))
        };
        assert!(has(&[&count(3000), "sockets", " age "]), "{text}");
        assert!(has(&["  7", "sockets", " owner "]), "{text}");
        assert!(has(&["4000", "all gates open"]), "{text}");
        assert!(has(&["verdict", "a sentence"]), "{text}");
    }

    #[test]
    fn few_that_are_refused_stand_by_themselves() {
        let one = |fd| item(fd, vec![gate("age", false, "young")]);
        let text = text(&plan(vec![one(5), one(6)]), Layout::default());
        assert_eq!(text.matches("age: young").count(), 2, "{text}");
        assert!(text.contains(Fix::Eof.words()), "{text}");
    }

    #[test]
    fn what_refuses_all_of_a_process_is_said_once_and_first() {
        let script = "/usr/bin/bash may read numbers from a script";
        let gates = || vec![gate("scripts", false, script), gate("age", false, "young")];
        let text = text(
            &plan(vec![item(5, gates()), item(6, gates())]),
            Layout::default(),
        );
        assert_eq!(text.matches(script).count(), 1, "{text}");
        assert!(text.contains("all are refused by `scripts`"), "{text}");
        assert_eq!(text.matches("scripts: see above").count(), 2, "{text}");
    }

    #[test]
    fn after_a_stop_what_was_not_touched_says_so() {
        let fixed = FixItem {
            outcome: Some(FixOutcome::ClosedByOwner),
            ..item(5, vec![gate("age", true, "old")])
        };
        let stopped = FixReport {
            stopped: Some("it became another program (exec); nothing more was touched".into()),
            dry_run: false,
            ..plan(vec![fixed, item(6, vec![gate("age", true, "old")])])
        };
        let text = text(&stopped, Layout::default());
        let row = text
            .lines()
            .find(|line| line.trim_start().starts_with("6 "));
        assert!(row.unwrap().contains("not touched"), "{text}");
        assert!(!text.contains("Every gate"), "{text}");
        assert!(
            text.contains("Stopped: it became another program (exec)"),
            "{text}"
        );
    }

    #[test]
    fn after_a_run_it_is_said_what_became_of_them_and_no_more_that_they_pass() {
        let old = || vec![gate("age", true, "old")];
        let ended = |outcome| {
            move |fd| FixItem {
                outcome: Some(outcome),
                ..item(fd, old())
            }
        };
        let mut items: Vec<FixItem> = (0..25).map(ended(FixOutcome::ClosedByOwner)).collect();
        items.extend((25..30).map(ended(FixOutcome::Neutered)));
        let run = FixReport {
            dry_run: false,
            ..plan(items)
        };
        let said = text(
            &run,
            Layout {
                width: 100,
                all: false,
            },
        );
        let head = "25 of 30 objects were fixed; the others: 5 neutered";
        assert!(said.lines().next().unwrap().contains(head), "{said}");
        let rest = "… and 10 more: 5 closed by its owner, 5 neutered";
        assert!(said.contains(rest) && !said.contains("pass"), "{said}");

        let items = (0..25).map(|fd| item(fd, old())).collect();
        let stopped = FixReport {
            stopped: Some("the process ended; nothing was touched".into()),
            dry_run: false,
            ..plan(items)
        };
        let said = text(&stopped, Layout::default());
        let head = "none of 25 objects was fixed: 25 not touched";
        assert!(said.lines().next().unwrap().contains(head), "{said}");
        assert!(said.contains("… and 5 more: 5 not touched"), "{said}");
    }

    #[test]
    fn on_a_narrow_screen_every_line_fits_and_the_reason_stays() {
        let young = "4 min 58 s old, at least 5 min is asked";
        let mut items = vec![item(1234, vec![gate("age", false, young)])];
        items.push(item(12, vec![gate("verdict", true, "leak, proven")]));
        let narrow = Layout {
            width: 40,
            all: false,
        };
        let styled = text(&plan(items), narrow);
        let text = anstream::adapter::strip_str(&styled).to_string();
        assert!(
            text.lines().all(|line| line.chars().count() <= 40),
            "{text}"
        );
        assert!(text.contains("age: 4 min 58"), "{text}");
    }
}
