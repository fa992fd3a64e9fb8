//! `memguard doctor`.

use std::ffi::OsStr;
use std::process::ExitCode;

use super::common::{emit, writer};
use super::run::library;
use crate::args::DoctorArgs;
use crate::attach::name::base_folder;
use crate::attach::{Running, process};
use crate::doctor::{self, Diagnosis, DoctorError, Severity, Surroundings};
use crate::error::{Error, TargetError};
use crate::kernel::ProcDir;
use crate::model::{Doctor, DoctorCheck, Outcome};

/// Runs the verb.
pub fn run(args: &DoctorArgs) -> Result<ExitCode, Error> {
    let diagnosis = diagnose(&args.target)?;
    let text =
        writer(&args.output, false).doctor(&document(&args.target.to_string_lossy(), diagnosis))?;
    emit(&text, args.output.output.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

/// A number is a pid; a word is a command, else the one process of that name.
fn diagnose(named: &OsStr) -> Result<Diagnosis, Error> {
    let surroundings = surroundings();
    let target = &*named.to_string_lossy();
    if let Ok(pid) = target.parse::<i32>() {
        return of_process(pid, &surroundings);
    }
    match doctor::command(named, &surroundings) {
        Err(DoctorError::NotFound(_)) => match one_named(target)? {
            Some(pid) => of_process(pid, &surroundings),
            None => Err(TargetError::Doctor(DoctorError::NotFound(target.to_owned())).into()),
        },
        found => found.map_err(|error| TargetError::Doctor(error).into()),
    }
}

fn of_process(pid: i32, surroundings: &Surroundings) -> Result<Diagnosis, Error> {
    if process::is_zombie(pid) {
        return Err(TargetError::Doctor(DoctorError::Ended(pid)).into());
    }
    let dir = ProcDir::open(pid).map_err(TargetError::Kernel)?;
    doctor::process(&dir, surroundings).map_err(|error| TargetError::Doctor(error).into())
}

fn one_named(name: &str) -> Result<Option<i32>, TargetError> {
    let own = std::process::id() as i32;
    let found: Vec<Running> = process::all()
        .filter(|process| process.pid != own && process.has_name(name))
        .collect();
    match &found[..] {
        [] => Ok(None),
        [one] => Ok(Some(one.pid)),
        several => {
            let lines: Vec<String> = several.iter().map(Running::line).collect();
            Err(TargetError::Ambiguous {
                name: name.to_owned(),
                list: lines.join("\n"),
            })
        }
    }
}

fn surroundings() -> Surroundings {
    Surroundings {
        library: library::find().ok(),
        segments: base_folder(),
    }
}

fn document(target: &str, diagnosis: Diagnosis) -> Doctor {
    let summary = diagnosis.summary();
    let checks = diagnosis.findings.into_iter().map(|finding| DoctorCheck {
        name: finding.name.to_owned(),
        outcome: match finding.severity {
            Severity::Blocks => Outcome::Blocked,
            Severity::Limits => Outcome::Limited,
            Severity::Note => Outcome::Note,
            Severity::Ok => Outcome::Ok,
        },
        detail: finding.sentence,
        advice: finding.remedy,
    });
    Doctor {
        schema: Doctor::SCHEMA.to_owned(),
        target: target.to_owned(),
        checks: checks.collect(),
        summary,
    }
}
