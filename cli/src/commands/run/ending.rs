//! What is said when the program has ended: what it and its children still
//! held.

use crate::args::{Format, RunArgs};
use crate::attach::process::{Running, own_namespace};
use crate::attach::{Record, Target, records};
use crate::commands::common::{emit, emit_error, wanted, writer_for};
use crate::commands::judge::Judged;
use crate::error::Error;
use crate::model::{Finding, Kind, Report, Verdict};
use crate::rules::Rules;
use crate::snapshot::take;
use crate::snapshot::take::moment_of;
use crate::state::State;

/// Children shown; a build has thousands.
const CHILDREN: usize = 10;

/// The records of one run.
pub struct Ending {
    main: Option<Record>,
    children: Vec<Record>,
    running: Vec<Record>,
}

impl Ending {
    /// Finds the records that carry this run's number.
    pub fn of(session: u64, pid: i32) -> Self {
        let carries = |record: &Record| record.run_id() == Some(session);
        let all = latest_images(records::all().into_iter().filter(carries).collect());
        let (running, mut ended): (Vec<Record>, Vec<Record>) =
            all.into_iter().partition(still_runs);
        let here = own_namespace();
        let is_main =
            |record: &Record| record.name.pid == pid && Some(record.name.namespace) == here;
        let main = ended.iter().position(is_main).map(|at| ended.remove(at));
        Self {
            main,
            children: ended,
            running,
        }
    }

    /// The report on the program, with those on its children in it; the worst
    /// child's where the program itself left none. None when nobody did.
    pub fn report(&self, args: &RunArgs, rules: &Rules) -> Result<Option<Report>, Error> {
        let mut state = State::open();
        let main = self
            .main
            .as_ref()
            .map(|main| one(main, args, rules, true, &mut state))
            .transpose()?;
        let children = self
            .children
            .iter()
            .filter_map(|record| one(record, args, rules, false, &mut state).ok());
        let mut children: Vec<Report> = children.filter(worth_showing).collect();
        children.sort_by_key(|child| (child.worst(), child.process.started_at));
        let first = || (!children.is_empty()).then(|| children.remove(0));
        let Some(mut whole) = main.or_else(first) else {
            return Ok(None);
        };
        let left_out = children.len().saturating_sub(CHILDREN);
        whole
            .coverage
            .notes
            .extend(note(left_out, "with findings are left out"));
        let running = "of this run still going; `memguard list` shows them";
        whole
            .coverage
            .notes
            .extend(note(self.running.len(), running));
        whole.coverage.notes.extend(state.take_notes());
        children.truncate(CHILDREN);
        whole.children = children;
        Ok(Some(whole))
    }

    /// Removes what was kept only for this.
    pub fn remove(&self) {
        self.main
            .iter()
            .chain(&self.children)
            .for_each(Record::remove);
    }
}

/// exec keeps pid and start time: only the last image counts.
fn latest_images(mut all: Vec<Record>) -> Vec<Record> {
    let identity = |record: &Record| {
        (
            record.name.namespace,
            record.name.pid,
            record.name.start_ticks,
        )
    };
    all.sort_by_key(|record| (identity(record), std::cmp::Reverse(record.name.count)));
    let mut last = None;
    let (kept, replaced): (Vec<Record>, Vec<Record>) = all
        .into_iter()
        .partition(|record| last.replace(identity(record)) != Some(identity(record)));
    replaced
        .iter()
        .filter(|record| !still_runs(record))
        .for_each(Record::remove);
    kept
}

fn still_runs(record: &Record) -> bool {
    own_namespace() == Some(record.name.namespace)
        && Running::find(record.name.pid)
            .is_some_and(|process| process.start_ticks == record.name.start_ticks)
}

/// A segment does not tell when its process ended, only when it last did
/// something; `just_ended` is for the one that the wrapper saw end.
///
/// A build has thousands of children: only those that are worth showing teach.
fn one(
    record: &Record,
    args: &RunArgs,
    rules: &Rules,
    just_ended: bool,
    state: &mut State,
) -> Result<Report, Error> {
    let segment = record.read()?;
    let now_ms = moment_of(&segment.view("The record")?.header());
    let mut taken = take(Target::Ended {
        path: record.path.clone(),
        segment,
    })?;
    taken.facts.ended_ms = just_ended.then_some(now_ms);
    let mut snapshot = taken.snapshot("The record")?;
    let wanted = wanted(&args.select, args.format != Format::Text);
    let known = state.recall(&snapshot, &wanted);
    known.process.earlier.sharpen(&mut snapshot);
    let mut judged = Judged::of(&snapshot, &wanted, &known, false);
    if just_ended || worth_showing(&judged.report) {
        judged.keep(&snapshot, &wanted, state);
    }
    rules.apply(&mut judged.report);
    Ok(judged.report)
}

/// Suspects and worse, and descriptors that were never closed. Some heap is
/// left by every program that ends.
fn worth_showing(report: &Report) -> bool {
    let worth =
        |finding: &Finding| finding.verdict < Verdict::Early || finding.kind != Kind::Memory;
    report.findings.iter().any(worth)
}

fn note(count: usize, what: &str) -> Option<String> {
    let noun = if count == 1 {
        "child process"
    } else {
        "child processes"
    };
    (count > 0).then(|| format!("{count} {noun} {what}."))
}

/// Prints or writes it. On the screen it goes to standard error: standard
/// output is the program's.
pub fn say(report: Option<&Report>, args: &RunArgs) -> Result<(), Error> {
    let Some(report) = report else {
        let command = args.command[0].to_string_lossy().into_owned();
        emit_error(&format!(
            "memguard: `{command}` left no record; `memguard doctor {command}` says why.\n"
        ))?;
        return Ok(());
    };
    let text = writer_for(args.format, args.output.as_deref(), false).report(report)?;
    match &args.output {
        Some(path) => emit(&text, Some(path))?,
        None if args.format == Format::Text => emit_error(&format!("\n{text}"))?,
        None => emit_error(&text)?,
    }
    Ok(())
}
