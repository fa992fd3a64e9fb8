//! What the verbs share: finding the target, choosing what is wanted, writing
//! the result.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::args::{Format, Offers, OutputArgs, SelectArgs, Worth};
use crate::attach::resolve;
use crate::detect::Wanted;
use crate::error::{Error, OutputError};
use crate::model::{Report, Verdict};
use crate::render::{Layout, Render, renderer};
use crate::snapshot::{Snapshot, of_target};
use crate::state::audit;
use crate::state::folder::place;
use rustix::fs::Access;

/// The snapshot of what a person named.
pub fn look(target: impl AsRef<OsStr>) -> Result<Snapshot, Error> {
    of_target(resolve(target)?)
}

/// What the flags ask for.
pub fn wanted(select: &SelectArgs, all: bool) -> Wanted {
    Wanted {
        kinds: select.kind.clone(),
        min_age: select.min_age,
        born_after_ms: None,
        all,
    }
}

/// The writer for these flags.
pub fn writer(output: &OutputArgs<impl Offers>, all: bool) -> Box<dyn Render> {
    writer_for(output.format, output.output.as_deref(), all)
}

/// The writer for tables: into a pipe or a file nothing is cut.
pub fn table_writer(output: &OutputArgs<impl Offers>) -> Box<dyn Render> {
    table_writer_for(output.format, output.output.as_deref())
}

/// The same for a format and a place.
pub fn table_writer_for(format: Format, file: Option<&Path>) -> Box<dyn Render> {
    let screen = file.is_none().then(columns).flatten();
    let width = screen.unwrap_or(UNCUT);
    renderer(format, Layout { width, all: false })
}

/// More columns than any table has.
const UNCUT: usize = 1 << 20;

/// The writer for a format and a place.
pub fn writer_for(format: Format, file: Option<&Path>, all: bool) -> Box<dyn Render> {
    let width = if file.is_some() { None } else { columns() };
    renderer(
        format,
        Layout {
            width: width.unwrap_or(Layout::default().width),
            all,
        },
    )
}

/// Columns of the screen; COLUMNS has the last word, as in a shell.
fn columns() -> Option<usize> {
    let named = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    let asked = || {
        rustix::termios::tcgetwinsize(io::stdout())
            .ok()
            .map(|size| usize::from(size.ws_col))
    };
    named.or_else(asked).filter(|columns| *columns > 0)
}

/// Writes the result to the file or the screen, which `-` stands for too.
pub fn emit(text: &str, file: Option<&Path>) -> Result<(), OutputError> {
    match file.filter(|path| *path != Path::new("-")) {
        Some(path) => emit_file(text, path),
        None => emit_screen(text),
    }
}

/// Fails where `emit` surely would: after hours of work that is late. Nothing is
/// made or changed.
pub fn check_file(file: Option<&Path>) -> Result<(), OutputError> {
    let Some(path) = file.filter(|path| *path != Path::new("-")) else {
        return Ok(());
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let writable = match path.metadata() {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => rustix::fs::access(path, Access::WRITE_OK).map_err(io::Error::from),
        Err(_) => rustix::fs::access(folder, Access::WRITE_OK).map_err(io::Error::from),
    };
    writable.map_err(|source| OutputError::File {
        path: path.to_owned(),
        source,
    })
}

/// Writes what came of actions. They are done whoever reads of them: nobody is
/// no failure. `logged` where there were any: what the log lacks of them.
pub fn emit_done(
    text: &str,
    file: Option<&Path>,
    logged: Option<Option<String>>,
) -> Result<(), OutputError> {
    emit(text, file).or_else(|why| match (why, logged) {
        (OutputError::Screen(source), _) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        (why, None) => Err(why),
        (why, Some(Some(missing))) => Err(OutputError::Unkept {
            why: Box::new(why),
            missing,
        }),
        (why, Some(None)) => Err(match place() {
            Ok(folder) => OutputError::Unseen {
                log: folder.join(audit::FILE),
                why: Box::new(why),
            },
            Err(_) => why,
        }),
    })
}

fn emit_screen(text: &str) -> Result<(), OutputError> {
    let mut screen = anstream::stdout().lock();
    screen
        .write_all(text.as_bytes())
        .and_then(|()| screen.flush())
        .map_err(OutputError::Screen)
}

/// Prints to standard error; one that is closed is no failure.
pub fn emit_error(text: &str) -> Result<(), OutputError> {
    let mut screen = anstream::stderr().lock();
    screen
        .write_all(text.as_bytes())
        .and_then(|()| screen.flush())
        .map_err(OutputError::Screen)
}

/// Without colours, unless they were asked for always.
fn emit_file(text: &str, path: &Path) -> Result<(), OutputError> {
    let coloured = anstream::ColorChoice::global() == anstream::ColorChoice::Always;
    let text = if coloured {
        text.to_owned()
    } else {
        anstream::adapter::strip_str(text).to_string()
    };
    std::fs::write(path, text).map_err(|source| OutputError::File {
        path: path.to_owned(),
        source,
    })
}

/// 1 when a finding is as bad as `--fail-on` says, else 0.
pub fn verdict_code(report: &Report, fail_on: Option<Worth>) -> ExitCode {
    ExitCode::from(u8::from(fails(report, fail_on)))
}

/// Whether a finding is as bad as `--fail-on` says.
pub fn fails(report: &Report, fail_on: Option<Worth>) -> bool {
    let worst = report
        .children
        .iter()
        .filter_map(Report::worst)
        .chain(report.worst())
        .min();
    match fail_on {
        None => false,
        Some(Worth::Leak) => worst.is_some_and(|worst| worst <= Verdict::Leak),
        Some(Worth::Growing) => worst.is_some_and(|worst| worst <= Verdict::Growing),
        Some(Worth::Suspect) => worst.is_some_and(|worst| worst <= Verdict::Suspect),
    }
}
