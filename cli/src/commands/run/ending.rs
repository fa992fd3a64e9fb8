//! What is said when the program has ended: what it and its children still
//! held.

use crate::args::{Format, RunArgs};
use crate::attach::process::{Running, own_namespace};
use crate::attach::{Record, Target, prune, records};
use crate::commands::common::{emit, emit_error, wanted, writer_for};
use crate::commands::judge::Judged;
use crate::doctor::{Surroundings, no_record as reason};
use crate::error::Error;
use crate::kernel::ClocksAhead;
use crate::model::{Finding, Kind, Report, Verdict};
use crate::render::safe::safe;
use crate::rules::Rules;
use crate::snapshot::take;
use crate::snapshot::take::moment_of;
use crate::state::State;

/// Children shown; a build has thousands.
const CHILDREN: usize = 10;
/// Said where there may have been more.
const NO_MORE_RECORDS: &str = "Of many processes that end only the last 16 or so keep their records: what earlier \
    children still held is not known.";

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
        let all = latest_images(records::every().into_iter().filter(carries).collect());
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
            .map(|main| one(main, args, rules, Look::Last, &mut state))
            .transpose()?;
        let (mut children, left_out) = self.worst_children(args, rules, main.is_none(), &mut state);
        let first = || (!children.is_empty()).then(|| children.remove(0));
        let Some(mut whole) = main.or_else(first) else {
            return Ok(None);
        };
        whole
            .coverage
            .notes
            .extend(note(left_out, "with findings are left out"));
        let running = "of this run still going; `memguard list` shows them";
        whole
            .coverage
            .notes
            .extend(note(self.running.len(), running));
        let ended = self.children.len() + usize::from(self.main.is_some());
        whole
            .coverage
            .notes
            .extend((ended > prune::KEPT).then(|| NO_MORE_RECORDS.to_owned()));
        whole.coverage.notes.extend(state.take_notes());
        whole.children = children;
        Ok(Some(whole))
    }

    /// The worst few, and how many more there are. Names come last, for those
    /// few: each child has files of its own to read them from.
    fn worst_children(
        &self,
        args: &RunArgs,
        rules: &Rules,
        one_more: bool,
        state: &mut State,
    ) -> (Vec<Report>, usize) {
        let mut judged: Vec<(Report, &Record)> = Vec::new();
        for record in &self.children {
            let report = one(record, args, rules, Look::Glance, state);
            judged.extend(
                report
                    .ok()
                    .filter(worth_showing)
                    .map(|report| (report, record)),
            );
        }
        judged.sort_by_key(|(child, _)| (child.worst(), child.process.started_at));
        let shown = CHILDREN + usize::from(one_more);
        let left_out = judged.len().saturating_sub(shown);
        judged.truncate(shown);
        let mut named =
            |(report, record)| one(record, args, rules, Look::Child, state).unwrap_or(report);
        (judged.into_iter().map(&mut named).collect(), left_out)
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
    // Images of several users count each for itself.
    let latest_first =
        |record: &Record| std::cmp::Reverse((record.created_ns(), record.name.count));
    all.sort_by_cached_key(|record| (identity(record), latest_first(record)));
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
            .is_some_and(|process| process.started_at(record.name.start_ticks))
}

/// How one of them is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The program, which the wrapper saw end
    Last,
    /// A child that is shown. A build has thousands: only these teach.
    Child,
    /// A child, to see whether it is worth showing: without names
    Glance,
}

/// A segment does not tell when its process ended, only when it last did
/// something, but for [`Look::Last`].
fn one(
    record: &Record,
    args: &RunArgs,
    rules: &Rules,
    look: Look,
    state: &mut State,
) -> Result<Report, Error> {
    let segment = record.read()?;
    let now_ms = moment_of(
        &segment.view("The record")?.header(),
        ClocksAhead::default(),
    );
    let mut taken = take(Target::Ended {
        path: record.path.clone(),
        segment,
    })?;
    taken.facts.ended_ms = (look == Look::Last).then_some(now_ms);
    let mut snapshot = taken.snapshot("The record")?;
    let wanted = wanted(&args.select, args.format != Format::Text);
    let known = state.recall(&snapshot, &wanted);
    known.process.sharpen(&mut snapshot);
    let mut judged = Judged::of(&snapshot, &wanted, &known, look == Look::Glance);
    if look != Look::Glance {
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

/// Why there is no report, as far as that is to be seen from here.
fn no_record(args: &RunArgs) -> String {
    let command = safe(&args.command[0].to_string_lossy()).into_owned();
    match reason(&Surroundings::default()) {
        Some(finding) => format!(
            "`{command}` left no record. {} {}",
            finding.sentence,
            finding.remedy.unwrap_or_default()
        ),
        None => format!("`{command}` left no record; `memguard doctor {command}` says why."),
    }
}

/// Prints or writes it. On the screen it goes to standard error: standard
/// output is the program's.
pub fn say(report: Option<&Report>, args: &RunArgs) -> Result<(), Error> {
    let Some(report) = report else {
        emit_error(&format!("memguard: {}\n", no_record(args)))?;
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
