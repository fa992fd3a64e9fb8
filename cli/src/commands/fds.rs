//! `memguard fds`.

use std::process::ExitCode;

use super::common::{emit, look, table_writer};
use super::names::names;
use crate::args::{FdSort, FdsArgs};
use crate::detect::{Symbolise, place};
use crate::error::Error;
use crate::model::{FdRow, Fds};
use crate::snapshot::{Descriptor, Snapshot};

/// Runs the verb.
pub fn run(args: &FdsArgs) -> Result<ExitCode, Error> {
    let snapshot = look(&args.target)?;
    let fds = fds(&snapshot, args, names(&snapshot, args.no_symbols).as_mut());
    let text = table_writer(&args.output).fds(&fds)?;
    emit(&text, args.output.output.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

fn fds(snapshot: &Snapshot, args: &FdsArgs, symbols: &mut dyn Symbolise) -> Fds {
    let mut rows: Vec<FdRow> = snapshot
        .descriptors
        .iter()
        .map(|open| row(snapshot, open, symbols))
        .filter(|row| fits(row, args))
        .collect();
    sort(&mut rows, args.sort);
    Fds {
        schema: Fds::SCHEMA.to_owned(),
        taken_at: snapshot.facts.taken_at,
        process: snapshot.process.clone(),
        open_fds: Some(snapshot.descriptors.len() as u64),
        fd_limit: snapshot.fd_limit,
        descriptors: rows,
        notes: snapshot.coverage.notes.clone(),
    }
}

fn row(snapshot: &Snapshot, open: &Descriptor, symbols: &mut dyn Symbolise) -> FdRow {
    let site = open
        .site
        .and_then(|id| snapshot.sites.index(id))
        .map(|at| &snapshot.sites.all[at]);
    let socket = open
        .fact
        .as_ref()
        .and_then(|fact| fact.socket.clone())
        .unwrap_or_default();
    let what = open.fact.as_ref().map(|fact| fact.what.clone());
    let fact = open.fact.clone().unwrap_or_default();
    FdRow {
        fd: open.fd,
        kind: open.kind,
        what: what
            .or_else(|| open.kind.map(|kind| kind.noun(1).to_owned()))
            .unwrap_or_default(),
        age_s: snapshot.descriptor_age_s(open),
        idle_s: snapshot.idle_at_least_s(open),
        state: socket.state,
        local: socket.local,
        peer: socket.peer,
        path: open.fact.as_ref().and_then(|fact| fact.path.clone()),
        timer: fact.timer.map(Into::into),
        registrations: fact.registrations.map(|n| n as u64),
        deleted: fact.deleted.then_some(true),
        held_bytes: fact.held_bytes,
        inherited: open.inherited,
        origin_known: open.origin_known,
        stack: site
            .map(|site| symbols.stack(&snapshot.modules, &site.frames))
            .unwrap_or_default(),
    }
}

fn fits(row: &FdRow, args: &FdsArgs) -> bool {
    let contains =
        |text: &Option<String>, part: &str| text.as_ref().is_some_and(|text| text.contains(part));
    let at_least = |seconds: Option<f64>, least: std::time::Duration| {
        seconds.is_some_and(|s| s >= least.as_secs_f64())
    };
    let by_kind = args.select.kind.is_empty()
        || row
            .kind
            .is_some_and(|kind| args.select.kind.contains(&kind));
    let by_state = args
        .state
        .as_ref()
        .is_none_or(|state| row.state.as_ref() == Some(state));
    let by_name = args.name.as_ref().is_none_or(|part| {
        [&row.path, &row.local, &row.peer]
            .iter()
            .any(|text| contains(text, part))
    });
    let by_creator = args.creator.as_ref().is_none_or(|part| made_by(row, part));
    by_kind
        && by_state
        && by_name
        && by_creator
        && (args.fd.is_empty() || args.fd.contains(&row.fd))
        && args
            .select
            .min_age
            .is_none_or(|least| at_least(row.age_s, least))
        && args.idle.is_none_or(|least| at_least(row.idle_s, least))
}

fn made_by(row: &FdRow, part: &str) -> bool {
    row.stack.iter().any(|frame| {
        frame
            .function
            .as_ref()
            .is_some_and(|name| name.contains(part))
    })
}

fn sort(rows: &mut [FdRow], by: FdSort) {
    let longest = |a: Option<f64>, b: Option<f64>| b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0));
    match by {
        FdSort::Fd => rows.sort_by_key(|row| row.fd),
        FdSort::Age => rows.sort_by(|a, b| longest(a.age_s, b.age_s)),
        FdSort::Idle => rows.sort_by(|a, b| longest(a.idle_s, b.idle_s)),
        FdSort::Kind => rows.sort_by(|a, b| (a.kind, &a.what, a.fd).cmp(&(b.kind, &b.what, b.fd))),
        FdSort::Creator => rows.sort_by_cached_key(|row| (place(&row.stack), row.fd)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use crate::model::{Frame, Kind};
    use clap::Parser;

    fn args(line: &str) -> FdsArgs {
        match Cli::parse_from(format!("memguard fds 1 {line}").split_whitespace()).command {
            Command::Fds(args) => args,
            _ => unreachable!(),
        }
    }

    #[test]
    fn each_filter_filters() {
        let frame = Frame {
            function: Some("open_upstream".into()),
            ..Frame::default()
        };
        let row = FdRow {
            fd: 7,
            kind: Some(Kind::Sockets),
            age_s: Some(50.0),
            idle_s: Some(10.0),
            state: Some("CLOSE_WAIT".into()),
            peer: Some("10.0.0.1:443".into()),
            stack: vec![frame],
            ..FdRow::default()
        };
        for yes in [
            "",
            "--kind sockets,files",
            "--fd 7",
            "--state close-wait",
            "--min-age 50s",
            "--idle 10s",
            "--name 10.0",
            "--creator upstream",
        ] {
            assert!(fits(&row, &args(yes)), "{yes}");
        }
        for no in [
            "--kind files",
            "--fd 8",
            "--state listen",
            "--min-age 51s",
            "--idle 11s",
            "--name 10.1",
            "--creator log",
        ] {
            assert!(!fits(&row, &args(no)), "{no}");
        }
    }
}
