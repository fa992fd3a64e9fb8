//! From what was typed to the executable that will run in the end.

use super::DoctorError;
use super::finding::{Finding, Severity};
use crate::kernel::text::lossy;
use crate::symbols::open::{Missing, RegularFile, Root};
use rustix::fd::AsFd;
use std::ffi::OsStr;
use std::fs::FileType;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// The kernel follows this many scripts (BINPRM_MAX_RECURSION).
const SCRIPT_DEPTH: usize = 5;

/// The kernel reads this much of a file to find its interpreter
/// (BINPRM_BUF_SIZE).
const HEAD_BYTES: usize = 256;

/// An executable, and how it was come by.
#[derive(Debug)]
pub struct Resolved {
    /// Its path.
    pub program: PathBuf,
    /// The file, open.
    pub file: RegularFile,
    /// Scripts on the way.
    pub notes: Vec<Finding>,
}

/// Finds the executable of a command as execvp(3) does, and follows `#!`.
pub fn command(name: impl AsRef<OsStr>) -> Result<Resolved, DoctorError> {
    let name = name.as_ref();
    let root = Root::host()?;
    let mut notes = Vec::new();
    let mut path = search(name)?;
    for _ in 0..=SCRIPT_DEPTH {
        let file = open(&root, &path)?;
        match interpreter(&file) {
            None => {
                let program = path;
                return Ok(Resolved {
                    program,
                    file,
                    notes,
                });
            }
            Some(words) => {
                let next = words_to_program(&words).map_err(|_| no_interpreter(&path, &words))?;
                notes.push(script_note(&path, &next));
                path = next;
            }
        }
    }
    Err(DoctorError::TooManyScripts(
        name.to_string_lossy().into_owned(),
    ))
}

fn no_interpreter(script: &Path, words: &[Vec<u8>]) -> DoctorError {
    let words = words.join(&b' ');
    let nothing = words.is_empty();
    DoctorError::NoInterpreter {
        script: script.display().to_string(),
        interpreter: if nothing {
            "nothing".into()
        } else {
            lossy(&words)
        },
    }
}

fn script_note(script: &Path, interpreter: &Path) -> Finding {
    let sentence = format!(
        "{} is a script that {} runs: what is said here is about that program.",
        script.display(),
        interpreter.display()
    );
    let remedy = "If the script starts other programs, ask about each of those as well.";
    Finding::new("script", Severity::Note, sentence, remedy)
}

/// A name without a slash is looked for in PATH.
fn search(name: &OsStr) -> Result<PathBuf, DoctorError> {
    let as_text = || name.to_string_lossy().into_owned();
    if name.is_empty() {
        return Err(DoctorError::Nameless);
    }
    if name.as_bytes().contains(&b'/') {
        let path = std::path::absolute(name).map_err(|_| DoctorError::NotFound(as_text()))?;
        return match path.metadata() {
            Err(_) => Err(DoctorError::NotFound(as_text())),
            Ok(_) if may_execute(&path) => Ok(path),
            Ok(found) if found.is_file() => Err(DoctorError::NotExecutable(as_text())),
            Ok(found) => Err(DoctorError::NoFile(as_text(), sort_of(found.file_type()))),
        };
    }
    let folders = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let found = std::env::split_paths(&folders)
        .filter_map(|folder| std::path::absolute(folder.join(name)).ok())
        .find(|path| !name.is_empty() && may_execute(path));
    found.ok_or_else(|| DoctorError::NotFound(as_text()))
}

fn sort_of(found: FileType) -> &'static str {
    if found.is_dir() {
        "a folder"
    } else if found.is_fifo() {
        "a pipe"
    } else if found.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

fn may_execute(path: &Path) -> bool {
    let regular = path.metadata().is_ok_and(|found| found.is_file());
    regular && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Resolved by the kernel first: `/proc/self/exe` and the like are no paths
/// that a root can be asked for.
fn open(root: &Root, path: &Path) -> Result<RegularFile, Missing> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    root.open(&real)
}

/// The words behind `#!`; empty when the line is. A file that is neither a
/// program nor begins so is run by the shell, as execvp(3) says.
fn interpreter(file: &RegularFile) -> Option<Vec<Vec<u8>>> {
    let opened = file.file().ok()?;
    let head = crate::kernel::proc_dir::read_up_to(opened.as_fd(), HEAD_BYTES).ok()?;
    if head.starts_with(b"\x7fELF") {
        return None;
    }
    match head.strip_prefix(b"#!") {
        Some(rest) => {
            let line = rest.split(|&byte| byte == b'\n').next().unwrap_or(&[]);
            Some(
                line.split(|byte| b" \t".contains(byte))
                    .filter(|word| !word.is_empty())
                    .map(<[u8]>::to_vec)
                    .collect(),
            )
        }
        None if is_text(&head) => Some(vec![b"/bin/sh".to_vec()]),
        None => None,
    }
}

fn is_text(head: &[u8]) -> bool {
    !head.is_empty() && !head.contains(&0)
}

/// `/usr/bin/env NAME` stands for NAME; its options and settings are passed
/// over.
fn words_to_program(words: &[Vec<u8>]) -> Result<PathBuf, DoctorError> {
    let all: Vec<u8> = words.join(&b' ');
    let not_found = || DoctorError::NotFound(lossy(&all));
    let first = words.first().ok_or_else(not_found)?;
    let is_env = first.rsplit(|&byte| byte == b'/').next() == Some(b"env");
    let rest = words.iter().skip(1);
    let mut names = rest.filter(|word| !word.starts_with(b"-") && !word.contains(&b'='));
    match names.next().filter(|_| is_env) {
        Some(name) => search(OsStr::from_bytes(name)),
        None => search(OsStr::from_bytes(first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn script(folder: &Path, name: &str, text: &str, mode: u32) -> String {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("writable");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("ours");
        path.to_str().expect("plain").to_owned()
    }

    #[test]
    fn commands_are_found_in_path() {
        let found = command("sleep").expect("it is installed");
        assert!(found.program.ends_with("bin/sleep") && found.notes.is_empty());
        assert!(matches!(
            command("no-such-command"),
            Err(DoctorError::NotFound(_))
        ));
        assert!(matches!(command(""), Err(DoctorError::Nameless)));
    }

    #[test]
    fn scripts_lead_to_their_interpreters() {
        let folder = tempfile::tempdir().expect("a folder");
        let ends_with = |text: &str, name: &str| {
            let found = command(script(folder.path(), "s", text, 0o755)).expect("a script");
            assert!(
                found.program.to_string_lossy().ends_with(name),
                "{text}: {found:?}"
            );
            assert_eq!(found.notes.len(), 1);
        };
        ends_with("#!/bin/sh -e\n", "/bin/sh");
        ends_with("#! /usr/bin/env -S A=b sleep 60\n", "bin/sleep");
        ends_with("echo no first line\n", "/bin/sh");
        let inner = script(folder.path(), "inner", "#!/bin/sh\n", 0o755);
        let outer = script(folder.path(), "outer", &format!("#!{inner}\n"), 0o755);
        assert_eq!(command(&outer).expect("two scripts").notes.len(), 2);
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let plain = script(folder.path(), "plain", "#!/bin/sh\n", 0o644);
        assert!(matches!(
            command(&plain),
            Err(DoctorError::NotExecutable(_))
        ));
        let itself = folder.path().join("itself");
        let text = format!("#!{}\n", itself.display());
        let itself = script(folder.path(), "itself", &text, 0o755);
        assert!(matches!(
            command(&itself),
            Err(DoctorError::TooManyScripts(_))
        ));
        let empty = script(folder.path(), "empty", "#!\n", 0o755);
        let leads_nowhere = |script: &str| {
            let found = command(script);
            matches!(found, Err(DoctorError::NoInterpreter { .. }))
        };
        assert!(leads_nowhere(&empty));
        let lost = script(folder.path(), "lost", "#!/no/such/shell -e\n", 0o755);
        assert!(leads_nowhere(&lost));
        let said = command("/").unwrap_err().to_string();
        assert!(said.contains("a folder and no program"), "{said}");
    }
}
