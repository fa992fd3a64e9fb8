//! `memguard run`: starts a program with the library in it, waits for it as
//! a wrapper should, and says at the end what was still held.

mod ending;
mod inherit;
pub mod library;
mod looks;
mod supervise;

use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use super::common::{check_file, emit_error, fails};
use super::rules::rules;
use crate::args::RunArgs;
use crate::descriptor_limit;
use crate::doctor;
use crate::error::{Error, RunError};
use crate::rules::Rules;
use ending::Ending;
use inherit::Inherited;
use looks::Looks;
use supervise::Supervisor;

/// Runs the verb. The exit code is the program's, as far as it has one.
pub fn run(args: &RunArgs) -> Result<ExitCode, Error> {
    let session = session_id();
    // Better now than after an hour of running.
    let too_late = |error| RunError::Beforehand(Box::new(error));
    let rules = rules(&args.rules).map_err(too_late)?;
    if !args.no_report {
        check_file(args.output.as_deref()).map_err(|error| too_late(error.into()))?;
    }
    let mut command = prepare(args, session)?;
    let (pid, status) = supervise(&mut command, &args.command[0])?;
    let code = code_of(status);
    let ending = Ending::of(session, pid);
    let worse = if args.no_report {
        Ok(false)
    } else {
        conclude(&ending, args, &rules, status)
    };
    if !args.keep {
        ending.remove();
    }
    // The program's own failure says more than ours.
    match worse {
        Ok(worse) => Ok(ExitCode::from(if worse && code == 0 { 1 } else { code })),
        Err(error) if code == 0 && !error.is_broken_pipe() => {
            Err(RunError::Report(Box::new(error)).into())
        }
        Err(error) => {
            let _ = emit_error(&format!("memguard: {error}\n"));
            Ok(ExitCode::from(code))
        }
    }
}

/// Says what was held; whether that is as bad as `--fail-on`.
fn conclude(
    ending: &Ending,
    args: &RunArgs,
    rules: &Rules,
    status: ExitStatus,
) -> Result<bool, Error> {
    descriptor_limit::check()?;
    let mut report = ending.report(args, rules)?;
    if let (Some(report), Some(said)) = (&mut report, killed(&args.command[0], status)) {
        report.coverage.notes.insert(0, said);
    }
    ending::say(report.as_ref(), args)?;
    Ok(report.is_some_and(|report| fails(&report, args.fail_on)))
}

/// Shells say so only of what they have started themselves.
fn killed(name: &OsStr, status: ExitStatus) -> Option<String> {
    status.signal()?;
    let by = status.to_string().replacen(": ", " ", 1);
    Some(format!("`{}` was ended by {by}.", name.to_string_lossy()))
}

/// A number that no other run has: every process of this run carries it.
fn session_id() -> u64 {
    let time = std::time::SystemTime::now();
    RandomState::new()
        .hash_one((std::process::id(), time))
        .max(1)
}

fn prepare(args: &RunArgs, session: u64) -> Result<Command, RunError> {
    let library = library::find()?;
    refuse_unstartable(&args.command[0], &library)?;
    let preload = library::preload_value(&library, std::env::var_os("LD_PRELOAD"))?;
    let mut command = Command::new(&args.command[0]);
    command.args(&args.command[1..]).env("LD_PRELOAD", preload);
    command.env("MEMGUARD_RUN_ID", session.to_string());
    // A daemon may outlive us: with nothing to say, its record is its own affair.
    if args.keep || !args.no_report {
        command.env("MEMGUARD_KEEP", "always");
    }
    if let Some(mode) = args.mode {
        command.env("MEMGUARD_MONITORING_MODE", mode.name());
    }
    Ok(command)
}

/// What the doctor knows to end at once is better not begun, unless the program
/// was told to bear it.
fn refuse_unstartable(name: &OsStr, library: &Path) -> Result<(), RunError> {
    let options = std::env::var("ASAN_OPTIONS").unwrap_or_default();
    if options.contains("verify_asan_link_order=0") {
        return Ok(());
    }
    match doctor::unstartable(name, library) {
        None => Ok(()),
        Some(finding) => Err(RunError::Unstartable(format!(
            "{} {}",
            finding.sentence,
            finding.remedy.unwrap_or_default()
        ))),
    }
}

fn supervise(command: &mut Command, name: &OsStr) -> Result<(i32, ExitStatus), RunError> {
    let inherited = Inherited::read();
    let own = |doing| move |source| RunError::Own { doing, source };
    let supervisor = Supervisor::new().map_err(own("catch signals"))?;
    inherit::pass_on(command, inherited);
    let child = command
        .spawn()
        .map_err(|source| not_started(name, source))?;
    let pid = child.id() as i32;
    let looks = Looks::at(pid);
    let status = supervisor
        .wait(&child)
        .map_err(own("wait for the program"))?;
    drop(looks);
    Ok((pid, status))
}

/// env(1)'s distinction: 127 for what is not there, 126 for what will not start.
fn not_started(name: &OsStr, source: io::Error) -> RunError {
    let command = name.to_string_lossy().into_owned();
    let there = command.contains('/') && std::path::Path::new(name).exists();
    match (doctor::not_started(name), source.kind()) {
        (Some(why), _) => RunError::NotStarted { command, why },
        (None, io::ErrorKind::NotFound) if !there => RunError::NotFound(command),
        (None, _) => RunError::CannotStart { command, source },
    }
}

/// The program's exit code, or 128 and the signal that ended it.
fn code_of(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(125)
}
