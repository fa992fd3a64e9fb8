//! A target is a pid, a process name, or a file; the same in every verb.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::live::{self, LiveSegment};
use super::name::SegmentName;
use super::process::{self, Running};
use super::read::{self, Segment};
use super::records::{self, Record};
use crate::error::{Error, RecordError, TargetError};

/// What was named.
#[derive(Debug)]
pub enum Target {
    /// It runs; without a segment only the kernel's view is known
    Live {
        /// Who
        process: Running,
        /// What the library recorded
        segment: Option<LiveSegment>,
    },
    /// It ended and left its segment behind
    Ended {
        /// The file
        path: PathBuf,
        /// Its contents
        segment: Segment,
    },
    /// A file that `memguard snapshot` wrote
    Saved {
        /// The file, or `-` for standard input
        path: PathBuf,
    },
}

/// What standard input is called.
const STDIN: [&str; 4] = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

/// Finds what a person named.
///
/// # Errors
/// When there is none, several, or it may not be looked at.
pub fn resolve(target: impl AsRef<OsStr>) -> Result<Target, Error> {
    let path = Path::new(&target);
    // Names are known with what is no text replaced; files keep theirs.
    let text = path.to_string_lossy();
    if let Ok(pid) = text.parse::<i32>() {
        return by_pid(pid);
    }
    if text.contains('/') || path == Path::new("-") {
        return by_file(path);
    }
    match by_name(&text)? {
        Some(target) => Ok(target),
        None if path.exists() => by_file(path),
        None => Err(TargetError::NoSuchName(text.into_owned()).into()),
    }
}

/// A running process, or the newest record of one that ended.
///
/// # Errors
/// When there is neither, or it may not be looked at.
pub fn by_pid(pid: i32) -> Result<Target, Error> {
    process::need_proc()?;
    let Some(process) = Running::find(pid) else {
        return match newest(kept_records(pid))? {
            Some(record) => ended(&record),
            None if process::is_zombie(pid) => Err(TargetError::Zombie(pid).into()),
            None => Err(TargetError::NoSuchPid(pid).into()),
        };
    };
    let target = live_target(process)?;
    if let Target::Live {
        process,
        segment: None,
    } = &target
    {
        let own = process::own_namespace();
        let other = kept_records(pid).into_iter().rfind(|record| {
            let here = own.is_none_or(|own| own == record.name.namespace);
            here && !process.started_at(record.name.start_ticks)
        });
        if let Some(record) = other {
            let now = process.program().unwrap_or_else(|| process.comm.clone());
            return Err(TargetError::PidReused {
                pid,
                now,
                record: record.path,
            }
            .into());
        }
    }
    Ok(target)
}

fn live_target(process: Running) -> Result<Target, Error> {
    let segment = live::find(&process)?;
    Ok(Target::Live { process, segment })
}

/// Records of this pid as `list` shows it, newest last; those of our own pid
/// namespace come before all others.
fn kept_records(pid: i32) -> Vec<Record> {
    let own = process::own_namespace();
    let mut found = records::all();
    found.retain(|record| record.shown_pid() == pid);
    found.sort_by_key(|record| {
        let name = record.name;
        (own == Some(name.namespace), name.start_ticks, name.count)
    });
    found
}

/// The last one, unless another user's folder has one of the same process:
/// then one of the two is made up.
fn newest(mut records: Vec<Record>) -> Result<Option<Record>, TargetError> {
    let Some(newest) = records.pop() else {
        return Ok(None);
    };
    let rival =
        |other: &&Record| other.same_process(&newest) && other.folder_uid != newest.folder_uid;
    let rivals: Vec<&Record> = records.iter().filter(rival).collect();
    if rivals.is_empty() {
        return Ok(Some(newest));
    }
    let paths = rivals.into_iter().chain([&newest]);
    let paths: Vec<String> = paths.map(|one| one.path.display().to_string()).collect();
    Err(TargetError::Contested {
        pid: newest.name.pid,
        list: paths.join("\n"),
    })
}

/// A process that ended, by its record.
///
/// # Errors
/// When the record cannot be read or trusted.
pub fn ended(record: &Record) -> Result<Target, Error> {
    Ok(Target::Ended {
        path: record.path.clone(),
        segment: record.read()?,
    })
}

fn by_name(name: &str) -> Result<Option<Target>, Error> {
    process::need_proc()?;
    let own = std::process::id() as i32;
    let mut found: Vec<Running> = process::all()
        .filter(|process| process.pid != own && process.has_name(name))
        .collect();
    match found.len() {
        0 => ended_by_name(name),
        1 => live_target(found.remove(0)).map(Some),
        _ => {
            found.sort_by_key(|process| process.pid);
            let lines: Vec<String> = found.iter().map(Running::line).collect();
            Err(TargetError::Ambiguous {
                name: name.to_owned(),
                list: lines.join("\n"),
            }
            .into())
        }
    }
}

/// No running process has the name: perhaps ended ones do.
fn ended_by_name(name: &str) -> Result<Option<Target>, Error> {
    let mut found: Vec<(Record, Segment, String)> = Vec::new();
    for record in records::all() {
        let Ok(segment) = record.read() else { continue };
        let line = segment.view("")?.header();
        let program = line.executable.rsplit('/').next() == Some(name);
        let first = line
            .cmdline
            .first()
            .and_then(|word| word.rsplit('/').next())
            == Some(name);
        if program || first {
            found.push((record, segment, line.cmdline.join(" ")));
        }
    }
    // By name, so that the last of a pid is its newest.
    found.reverse();
    found.dedup_by_key(|(record, ..)| (record.name.namespace, record.name.pid));
    found.reverse();
    if found.len() > 1 {
        let line = |(record, _, cmdline): &(Record, Segment, String)| {
            format!("{:>9}  {cmdline} (ended)", record.shown_pid())
        };
        let lines: Vec<String> = found.iter().map(line).collect();
        return Err(TargetError::Ambiguous {
            name: name.to_owned(),
            list: lines.join("\n"),
        }
        .into());
    }
    let Some((record, segment, _)) = found.pop() else {
        return Ok(None);
    };
    let mut same = records::all();
    same.retain(|other| other.same_process(&record));
    newest(same)?;
    Ok(Some(Target::Ended {
        path: record.path,
        segment,
    }))
}

/// A snapshot, or a segment file itself.
///
/// # Errors
/// When it is neither.
pub fn by_file(path: &Path) -> Result<Target, Error> {
    if STDIN.iter().any(|name| path == Path::new(name)) {
        return Ok(Target::Saved { path: "-".into() });
    }
    let path = path.canonicalize().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            Error::from(TargetError::NoSuchName(path.display().to_string()))
        }
        _ => RecordError::Unreadable {
            path: path.to_owned(),
            source,
        }
        .into(),
    })?;
    let file = records::open_plain(&path)?;
    match first_bytes(&file) {
        Some(magic) if magic == crate::snapshot::file::MAGIC => Ok(Target::Saved { path }),
        Some(magic) if u64::from_le_bytes(magic) == shm_protocol::layout::MAGIC => {
            by_segment_file(&file, path)
        }
        _ => Err(RecordError::NotOurs(path).into()),
    }
}

fn first_bytes(file: &File) -> Option<[u8; 8]> {
    let mut magic = [0; 8];
    file.read_exact_at(&mut magic, 0).ok().map(|()| magic)
}

/// The segment of a process that still runs is read as the process.
fn by_segment_file(file: &File, path: PathBuf) -> Result<Target, Error> {
    process::need_proc()?;
    let name =
        SegmentName::of_path(&path).filter(|name| Some(name.namespace) == process::own_namespace());
    let running = name
        .and_then(|name| Running::find(name.pid).filter(|now| now.started_at(name.start_ticks)));
    match running.map(live_target) {
        Some(Ok(
            target @ Target::Live {
                segment: Some(_), ..
            },
        )) => Ok(target),
        _ => Ok(Target::Ended {
            segment: read::from_file(file, &path).map_err(RecordError::of_the_dead)?,
            path,
        }),
    }
}
