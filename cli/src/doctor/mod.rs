//! Why a program is, or is not, fully observable, and what to do about it.
//!
//! - [`finding`]: what is reported
//! - [`elf_view`]: what an executable's file says; [`resolve`]: from a command
//!   or script to that file
//! - `file_rules`, `process_rules`, `system_rules`: from facts to findings;
//!   each rule is one function and says one thing
//!
//! Executables and processes are somebody else's: everything is read, bounded
//! and never run.

pub mod elf_view;
mod file_rules;
pub mod finding;
mod process_rules;
pub mod resolve;
mod system_rules;

pub use finding::{Diagnosis, Finding, Severity};
pub use system_rules::{Surroundings, no_record};

use crate::kernel::{KernelError, ProcDir, Process};
use crate::symbols::open::{Missing, RegularFile};
use elf_view::ElfView;
use rustix::fs::OFlags;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why there is no diagnosis at all.
#[derive(Debug, Error)]
pub enum DoctorError {
    /// The process cannot be looked at.
    #[error(transparent)]
    Process(#[from] KernelError),
    /// The file cannot be looked at.
    #[error(transparent)]
    File(#[from] Missing),
    /// It is no more.
    #[error(
        "Process {0} has ended and only waits for its parent to take note of it; `memguard report {0}` shows its \
        record, if it left one."
    )]
    Ended(i32),
    /// Nothing of that name.
    #[error("There is no command {0}; check the spelling, or give its path.")]
    NotFound(String),
    /// No name at all.
    #[error("An empty name is no command; give a command, a path or a pid.")]
    Nameless,
    /// A directory, a pipe and the like.
    #[error("{0} is {1} and no program; name the program's own file.")]
    NoFile(String, &'static str),
    /// A script whose first line leads nowhere.
    #[error(
        "The script {script} asks to be run by {interpreter}, which cannot be; install that, or correct the script's first line."
    )]
    NoInterpreter {
        /// The script
        script: String,
        /// What its first line names
        interpreter: String,
    },
    /// Found, but not to be executed.
    #[error("{0} is not executable; check its permissions (chmod +x).")]
    NotExecutable(String),
    /// A script whose interpreter is a script, and so on.
    #[error(
        "{0} is a script of scripts, more than the kernel follows; name the program at their end."
    )]
    TooManyScripts(String),
}

/// Looks at a program that does not run yet.
pub fn command(
    name: impl AsRef<OsStr>,
    surroundings: &Surroundings,
) -> Result<Diagnosis, DoctorError> {
    let name = name.as_ref();
    let resolved = resolve::command(name)?;
    let mut diagnosis = Diagnosis::of(&name.to_string_lossy(), Some(resolved.program.clone()));
    diagnosis.findings.extend(resolved.notes);
    match ElfView::read(&resolved.file) {
        Ok(view) => {
            let privileges = file_rules::Privileges::of(&resolved.file);
            diagnosis
                .findings
                .extend(file_rules::all(&resolved.program, &view, surroundings));
            diagnosis
                .findings
                .extend(file_rules::privileges(&resolved.program, &privileges));
        }
        Err(reason) => diagnosis
            .findings
            .push(file_rules::not_elf(&resolved.program, &reason)),
    }
    diagnosis
        .findings
        .extend(system_rules::all(surroundings, &system_rules::Place::Here));
    Ok(diagnosis.sorted())
}

/// Why a command would not even start with the library in it, if that is known
/// beforehand. Only the start of its file is read.
#[must_use]
pub fn unstartable(name: &OsStr, library: &Path) -> Option<Finding> {
    let resolved = resolve::command(name).ok()?;
    let (loader, needed) = elf_view::loading(&resolved.file)?;
    let program = resolved.program.display().to_string();
    file_rules::unstartable(&program, loader.as_deref(), &needed, library)
}

/// Why a command that is there could not be started, and what to do, if that is
/// to be seen.
#[must_use]
pub fn not_started(name: &OsStr) -> Option<DoctorError> {
    let why = resolve::command(name).err()?;
    let is_there = !matches!(why, DoctorError::NotFound(_) | DoctorError::Nameless);
    is_there.then_some(why)
}

/// Looks at a process that runs.
pub fn process(dir: &ProcDir, surroundings: &Surroundings) -> Result<Diagnosis, DoctorError> {
    let process = Process::read(dir)?;
    let subject = format!("{} ({})", process.pid, process.comm);
    let mut diagnosis = Diagnosis::of(&subject, process.exe.as_ref().map(PathBuf::from));
    if process.kernel_thread {
        diagnosis
            .findings
            .push(process_rules::kernel_thread(&process));
        return Ok(diagnosis);
    }
    let inside = process_rules::Inside::of(dir);
    if let (Some(path), Some(view)) = (&diagnosis.program, executable(dir)) {
        diagnosis
            .findings
            .extend(file_rules::all(path, &view, surroundings));
    }
    // The file tells of its own malloc only, the record of any that comes first.
    let seen = |one: &&mut Finding| one.name == "allocator" && one.severity == Severity::Ok;
    if let Some(seen) = diagnosis.findings.iter_mut().find(seen)
        && process_rules::heap_is_out_of_reach(process.pid)
    {
        *seen = process_rules::another_malloc(process.pid);
    }
    let hopeless = diagnosis.worst() == Severity::Blocks;
    let mut running = process_rules::all(&process, &inside, surroundings);
    // Starting it again with the library would not help.
    running.retain(|finding| !(hopeless && finding.name == "library"));
    diagnosis.findings.extend(running);
    let place = system_rules::Place::of(dir, &process);
    let mut around = system_rules::all(surroundings, &place);
    // Where its record already is counts, not where the next one would go.
    if let Some(file) = inside.record() {
        around.retain(|finding| finding.name != "shm");
        around.push(process_rules::recorded(process.pid, file));
    }
    diagnosis.findings.extend(around);
    Ok(diagnosis.sorted())
}

/// The executable behind `/proc/PID/exe`, also one that has no name any more.
fn executable(dir: &ProcDir) -> Option<ElfView> {
    let found = dir.open_file("exe", OFlags::PATH).ok()?;
    let file = RegularFile::from_path_fd(found, Path::new("exe")).ok()?;
    ElfView::read(&file).ok()
}

#[cfg(test)]
mod tests;
