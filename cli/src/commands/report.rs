//! `memguard report`.

use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;

use super::common::{emit, verdict_code, wanted, writer};
use super::judge::Judged;
use super::observe::{Observed, settle, targets, watch};
use super::rules::rules;
use crate::args::{FindingSort, Format, ReportArgs};
use crate::attach::target::by_file;
use crate::error::{Error, RecordError};
use crate::model::{Finding, Report, merge};
use crate::rules::generate::rules_for;
use crate::snapshot::{Snapshot, of_target};
use crate::state::State;

/// Runs the verb.
pub fn run(args: &ReportArgs) -> Result<ExitCode, Error> {
    let since = args.since.as_deref().map(earlier).transpose()?;
    let rules = rules(&args.rules)?;
    let mut state = State::open();
    let mut observed = targets(&args.targets, args.tree)?;
    if since.is_some() && observed.len() > 1 {
        return Err(Error::Usage(
            "--since compares one process with its own past; name a single target.".into(),
        ));
    }
    if let Some(long) = args.watch {
        watch(&mut observed, long)?;
    }
    let mut reports = Vec::new();
    for one in &mut observed {
        reports.push(report_on(one, args, since.as_ref(), &mut state)?);
    }
    let Some(mut report) = merge(reports) else {
        return Err(Error::Usage("Name at least one target.".into()));
    };
    report.coverage.notes.extend(state.take_notes());
    rules.apply(&mut report);
    sort(&mut report, args.sort);
    let text = if args.gen_suppressions {
        rules_for(&report, args.all)
    } else {
        writer(&args.output, args.all).report(&report)?
    };
    emit(&text, args.output.output.as_deref())?;
    Ok(verdict_code(&report, args.fail_on))
}

fn report_on(
    one: &mut Observed,
    args: &ReportArgs,
    since: Option<&Snapshot>,
    state: &mut State,
) -> Result<Report, Error> {
    // Programs get every site; people ask for the small ones.
    let everything = args.all || since.is_some() || args.output.format != Format::Text;
    let mut wanted = wanted(&args.select, everything);
    if let Some(earlier) = since {
        wanted.born_after_ms = Some(moment_in(&one.snapshot, earlier)?);
    }
    let known = state.recall(&one.snapshot, &wanted);
    known.process.sharpen(&mut one.snapshot);
    settle(one, &wanted, &known);
    let judged = Judged::of(&one.snapshot, &wanted, &known, args.no_symbols);
    judged.keep(&one.snapshot, &wanted, state);
    let mut report = judged.report;
    one.tell(&mut report);
    if let Some(earlier) = since {
        report.totals.since = Some(earlier.facts.taken_at);
    }
    Ok(report)
}

fn earlier(path: &Path) -> Result<Snapshot, Error> {
    of_target(by_file(path)?)
}

/// The earlier snapshot's moment in this one's time. Another start of the
/// program, or another process, has nothing in common with it.
fn moment_in(now: &Snapshot, earlier: &Snapshot) -> Result<u64, Error> {
    let same = now.process.pid == earlier.process.pid
        && same_moment(now.process.started_at, earlier.process.started_at);
    let instrumented = now.process.instrumented && earlier.process.instrumented;
    match (same, instrumented) {
        (true, true) => Ok(earlier.moment_ms),
        (true, false) => Err(Error::Usage(
            "--since needs a process with memguard's library in it; start it with `memguard run -- COMMAND`.".into(),
        )),
        (false, _) => Err(RecordError::OtherProcess {
            snapshot: earlier.process.name().to_owned(),
            pid: earlier.process.pid,
        }
        .into()),
    }
}

/// The start is computed from ticks and clocks that may be set in between.
fn same_moment(a: Option<Timestamp>, b: Option<Timestamp>) -> bool {
    a.zip(b)
        .is_none_or(|(a, b)| a.duration_since(b).abs().as_secs() < 5)
}

fn sort(report: &mut Report, by: FindingSort) {
    let findings = &mut report.findings;
    match by {
        FindingSort::Verdict => {}
        FindingSort::Bytes => findings.sort_by_key(|finding| std::cmp::Reverse(finding.bytes)),
        FindingSort::Count => findings.sort_by_key(|finding| std::cmp::Reverse(finding.count)),
        FindingSort::Rate => {
            let rate = |finding: &Finding| finding.rate_per_hour.unwrap_or(0.0);
            findings.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
        }
    }
}
