//! `memguard list`.

use std::process::ExitCode;

use jiff::{SignedDuration, Timestamp};

use super::common::{emit, table_writer};
use crate::args::{Format, ListArgs, ListSort};
use crate::attach::{Record, Running, Target, former, live, process, prune, records, target};
use crate::detect::{Offsets, Wanted, report};
use crate::error::{Error, TargetError};
use crate::model::{List, ListRow, Verdict};
use crate::snapshot::{Snapshot, of_target};
use crate::state::State;
use crate::units::count;

/// Processes shown of those that have ended.
const ENDED_SHOWN: usize = 10;

/// Runs the verb.
pub fn run(args: &ListArgs) -> Result<ExitCode, Error> {
    process::need_proc()?;
    let mut list = List {
        schema: List::SCHEMA.to_owned(),
        taken_at: Timestamp::now(),
        processes: Vec::new(),
        notes: Vec::new(),
    };
    let mut state = State::open();
    running(&mut list, &mut state);
    ended(&mut list, &mut state);
    list.notes.extend(state.take_notes());
    sort(&mut list.processes, args.sort);
    if !args.all && args.output.format == Format::Text {
        leave_out(&mut list);
    }
    let text = table_writer(&args.output).list(&list)?;
    emit(&text, args.output.output.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

/// Every process that has a segment mapped, in any namespace that we see, or
/// had one before it became a program without.
fn running(list: &mut List, state: &mut State) {
    let records = records::all();
    let own = rustix::process::geteuid();
    let mine = |process: &Running| own.is_root() || process.uid == own.as_raw();
    for process in process::all().filter(mine) {
        let found = live::find(&process);
        let target = match found {
            Ok(Some(segment)) => Target::Live {
                process,
                segment: Some(segment),
            },
            Ok(None) if former::among(&records, &process).is_some() => Target::Live {
                process,
                segment: None,
            },
            Ok(None) | Err(Error::Target(TargetError::Vanished(_))) => continue,
            Err(Error::Target(error)) if error.is_refusal() => continue,
            Err(error) => {
                list.notes.push(error.to_string());
                continue;
            }
        };
        add(list, of_target(target), state);
    }
}

/// Every record whose process does not run.
fn ended(list: &mut List, state: &mut State) {
    let own = process::own_namespace();
    let mut records = records::all();
    prune::dead_namespaces(&mut records);
    for record in records {
        if !still_runs(&record, own, list) {
            add(list, target::ended(&record).and_then(of_target), state);
        }
    }
}

/// By pid and start time, where the pid is of our namespace. The record of a
/// process in another one (a shared /dev/shm) is told by who is listed already.
fn still_runs(record: &Record, own: Option<u64>, list: &List) -> bool {
    if own == Some(record.name.namespace) {
        let ticks = |process: Running| process.started_at(record.name.start_ticks);
        return Running::find(record.name.pid).is_some_and(ticks);
    }
    let alive = list.processes.iter().filter(|row| row.process.alive);
    let mut alive = alive.filter_map(|row| Running::find(row.process.pid));
    alive.any(|process| {
        process.inner_pid == record.name.pid && process.started_at(record.name.start_ticks)
    })
}

fn add(list: &mut List, snapshot: Result<Snapshot, Error>, state: &mut State) {
    match snapshot {
        Ok(snapshot) => list.processes.push(row(snapshot, state)),
        Err(Error::Target(TargetError::Vanished(_))) => {}
        Err(error) => list.notes.push(error.to_string()),
    }
}

/// A glance is no look: nothing is counted or kept.
fn row(mut snapshot: Snapshot, state: &mut State) -> ListRow {
    let wanted = Wanted::default();
    let known = state.recall(&snapshot, &wanted);
    known.process.sharpen(&mut snapshot);
    // Names take long to look up, and nothing here shows them.
    let report = report(&snapshot, &wanted, &known.context(), &mut Offsets);
    let totals = &report.totals;
    ListRow {
        process: snapshot.process.clone(),
        uid: snapshot.facts.uid,
        rss_bytes: totals.rss_bytes,
        live_bytes: totals.live_bytes,
        open_fds: totals.open_fds,
        fd_limit: totals.fd_limit,
        verdict: report.worst().filter(|worst| *worst < Verdict::Held),
        grade: report.health.grade,
    }
}

/// Leaves the latest of those that have ended, and says so. Programs get all.
fn leave_out(list: &mut List) {
    let mut ends: Vec<Timestamp> = list.processes.iter().filter_map(end_of).collect();
    ends.sort_unstable_by(|a, b| b.cmp(a));
    let Some(last) = ends.get(ENDED_SHOWN.saturating_sub(1)).copied() else {
        return;
    };
    let (before, mut shown) = (list.processes.len(), 0);
    list.processes.retain(|row| {
        let kept = end_of(row).is_none_or(|end| end >= last && shown < ENDED_SHOWN);
        shown += usize::from(kept && !row.process.alive);
        kept
    });
    let hidden = before - list.processes.len();
    if hidden > 0 {
        list.notes.push(format!(
            "… and {} more that have ended; `memguard list --all` shows them.",
            count(hidden as u64)
        ));
    }
}

/// When it ended, as far as is known; none while it runs.
fn end_of(row: &ListRow) -> Option<Timestamp> {
    let process = &row.process;
    let start = process.started_at.unwrap_or_default();
    let ran = SignedDuration::from_secs_f64(process.uptime_s.unwrap_or(0.0).clamp(0.0, 1e9));
    (!process.alive).then(|| start.saturating_add(ran).unwrap_or(start))
}

/// Those that run first.
fn sort(rows: &mut [ListRow], by: ListSort) {
    use std::cmp::Reverse;
    rows.sort_by_key(|row| row.process.pid);
    match by {
        ListSort::Pid => {}
        ListSort::Verdict => rows.sort_by_key(|row| (row.verdict.is_none(), row.verdict)),
        ListSort::Name => rows.sort_by_key(|row| row.process.name().to_owned()),
        ListSort::Rss => rows.sort_by_key(|row| Reverse(row.rss_bytes)),
        ListSort::Heap => rows.sort_by_key(|row| Reverse(row.live_bytes)),
        ListSort::Fds => rows.sort_by_key(|row| Reverse(row.open_fds)),
    }
    rows.sort_by_key(|row| !row.process.alive);
}
