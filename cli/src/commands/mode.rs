//! `memguard mode`.

use std::ffi::OsStr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::common::emit;
use crate::args::{Mode, ModeArgs};
use crate::attach::write::Writer;
use crate::attach::{LiveSegment, Running, Target, resolve};
use crate::error::{Error, RecordError, TargetError};
use crate::kernel::ClocksAhead;
use crate::snapshot::take::moment_of;
use crate::units::span;

/// How long to watch for the library to obey. A busy program does at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs the verb.
pub fn run(args: &ModeArgs) -> Result<ExitCode, Error> {
    let (process, found) = target(&args.target)?;
    let header = found.segment.view("The record")?.header();
    let sequence = (header.wanted_mode & ((1 << 56) - 1)) + 1;
    let wanted = u64::from(code(args.mode)) << 56 | sequence & ((1 << 56) - 1);
    let until_ms = args.duration.map_or(0, |span| {
        moment_of(&header, ClocksAhead::of(process.pid))
            .saturating_add(span.as_millis() as u64)
            .max(1)
    });
    let unwritable = |source| RecordError::Unreadable {
        path: format!("the record of process {}", process.pid).into(),
        source,
    };
    let writer = Writer::open(&process, &found).map_err(unwritable)?;
    writer.want_mode(wanted, until_ms).map_err(unwritable)?;
    emit(&answer(args, &process, obeyed(&writer, wanted)), None)?;
    Ok(ExitCode::SUCCESS)
}

fn target(text: &OsStr) -> Result<(Running, LiveSegment), Error> {
    match resolve(text)? {
        Target::Live {
            process,
            segment: Some(segment),
        } => Ok((process, segment)),
        Target::Live {
            process,
            segment: None,
        } if process.has_library() => Err(TargetError::NoRecordYet(process.pid).into()),
        Target::Live {
            process,
            segment: None,
        } => Err(TargetError::NotInstrumented(process.pid).into()),
        Target::Ended { .. } | Target::Saved { .. } => {
            Err(TargetError::NotRunning(text.to_string_lossy().into_owned()).into())
        }
    }
}

fn code(mode: Mode) -> u8 {
    use shm_protocol::codes::Mode as Row;
    match mode {
        Mode::Off => Row::Off as u8,
        Mode::Light => Row::Light as u8,
        Mode::Deep => Row::Deep as u8,
    }
}

fn obeyed(writer: &Writer, wanted: u64) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match writer.applied_mode() {
            Ok(applied) if applied == wanted => return true,
            Ok(_) => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => return false,
        }
    }
    false
}

fn answer(args: &ModeArgs, process: &Running, obeyed: bool) -> String {
    let (name, pid, mode) = (
        process.program().unwrap_or_default(),
        process.pid,
        args.mode.name(),
    );
    let long = args
        .duration
        .map(|time| format!(" for {}", span(time.as_secs_f64())))
        .unwrap_or_default();
    let name = crate::render::safe::safe(&name);
    if obeyed {
        format!("{name} (pid {pid}) is now in {mode} mode{long}.\n")
    } else {
        format!(
            "{name} (pid {pid}) is idle; it goes into {mode} mode{long} when it next opens or allocates something.\n"
        )
    }
}
