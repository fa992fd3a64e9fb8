//! Copies a segment. Never by mapping it: a process that cuts its file off
//! would kill a reader by SIGBUS.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, SeekFrom, fstat, openat2, seek};
use shm_protocol::layout::DATA_AT;
use shm_protocol::view::View;

use super::maps::MappedFile;
use super::process::Running;
use crate::error::RecordError;

/// No segment is larger; a file that claims to be is cut here.
const CAP_BYTES: u64 = 4 << 30;

/// The copied bytes of a segment.
#[derive(Debug)]
pub struct Segment {
    /// The copy, as long as the segment's header says it is used
    pub bytes: Vec<u8>,
}

impl Segment {
    /// The checked reader over the copy; `what` names it in the error.
    ///
    /// # Errors
    /// When the bytes are no segment of this version.
    pub fn view(&self, what: &str) -> Result<View<'_>, RecordError> {
        View::new(&self.bytes).map_err(|error| refused(error, what))
    }
}

/// Copies the parts of a file that have content; holes stay zero.
///
/// # Errors
/// When it cannot be read, is no segment, or got shorter meanwhile.
pub fn from_file(file: &File, what: &Path) -> Result<Segment, RecordError> {
    let unreadable = |source: io::Error| RecordError::Unreadable {
        path: what.to_owned(),
        source,
    };
    let name = || what.display().to_string();
    let length = file.metadata().map_err(unreadable)?.len();
    let head = head(file).map_err(unreadable)?;
    let used = used_bytes(&head, &name())?;
    if used > length {
        return Err(cut_off(name(), length, used));
    }
    let mut bytes = vec![0; used as usize];
    copy_content(file, &mut bytes).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    if used > length {
        return Err(cut_off(name(), length, used));
    }
    Ok(Segment { bytes })
}

/// The header and directory, as far as the file goes.
///
/// # Errors
/// When it cannot be read.
pub fn head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; DATA_AT];
    let read = read_up_to(file, &mut head, 0)?;
    head.truncate(read);
    Ok(head)
}

fn cut_off(what: String, length: u64, used: u64) -> RecordError {
    RecordError::Corrupt {
        what,
        detail: format!("it is cut off at {length} of {used} bytes"),
    }
}

/// Checks magic and version of the first bytes; how many bytes are in use.
pub fn used_bytes(head: &[u8], what: &str) -> Result<u64, RecordError> {
    let view = View::new(head).map_err(|error| refused(error, what))?;
    Ok(view.header().used_bytes.clamp(DATA_AT as u64, CAP_BYTES))
}

/// Puts the reader's refusal in a sentence.
pub fn refused(error: shm_protocol::view::ViewError, what: &str) -> RecordError {
    use shm_protocol::view::ViewError::{NotReady, OtherVersion};
    let (what, detail) = (what.to_owned(), error.to_string());
    match error {
        NotReady => RecordError::Starting(what),
        OtherVersion { .. } => RecordError::Version { what, detail },
        _ => RecordError::Corrupt { what, detail },
    }
}

fn copy_content(file: &File, bytes: &mut [u8]) -> io::Result<()> {
    let end = bytes.len() as u64;
    let mut at = 0;
    while at < end {
        let Ok(data) = seek(file, SeekFrom::Data(at)) else {
            break;
        };
        let hole = seek(file, SeekFrom::Hole(data)).unwrap_or(end).min(end);
        if data >= end || hole <= data {
            break;
        }
        read_up_to(file, &mut bytes[data as usize..hole as usize], data)?;
        at = hole;
    }
    Ok(())
}

/// Fills the buffer as far as the file goes; how far that is.
fn read_up_to(file: &File, mut buffer: &mut [u8], from: u64) -> io::Result<usize> {
    let mut at = from;
    while !buffer.is_empty() {
        match file.read_at(buffer, at) {
            Ok(0) => break,
            Ok(n) => (buffer, at) = (&mut buffer[n..], at + n as u64),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((at - from) as usize)
}

/// Copies a live process's segment: by its path where that still leads to the
/// very file that is mapped, else out of the mapping itself.
///
/// # Errors
/// When neither can be read, or what is there is no segment.
pub fn from_process(process: &Running, mapped: &MappedFile) -> Result<Segment, RecordError> {
    let what = format!("The record of process {}", process.pid);
    match open_mapped(process, mapped, Access::Read) {
        Some(file) => from_file(&file, Path::new(&what)),
        None => from_memory(process, mapped, &what),
    }
}

/// What to open a file for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To copy it
    Read,
    /// To change a word in it
    Write,
}

/// Opens the mapped file, below the process's root or our own. Identity is
/// device and inode: a path may lead anywhere.
#[must_use]
pub fn open_mapped(process: &Running, mapped: &MappedFile, access: Access) -> Option<File> {
    let path = mapped.path()?;
    let roots = [format!("/proc/{}/root", process.pid), "/".to_owned()];
    roots
        .iter()
        .find_map(|root| open_below(root, path, mapped.identity(), access))
}

fn open_below(root: &str, path: &Path, identity: (u64, u64), access: Access) -> Option<File> {
    let folder = rustix::fs::open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let way = if access == Access::Write {
        OFlags::RDWR
    } else {
        OFlags::RDONLY
    };
    let flags = way | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // A look without opening first: opening a device or FIFO can have effects.
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let seen = openat2(
        &folder,
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        within,
    )
    .ok()?;
    if !is_that_file(&seen, identity) {
        return None;
    }
    let file = openat2(&folder, path, flags, Mode::empty(), within).ok()?;
    is_that_file(&file, identity).then(|| file.into())
}

fn is_that_file(file: impl std::os::fd::AsFd, identity: (u64, u64)) -> bool {
    fstat(file).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()
            && (stat.st_dev, stat.st_ino) == identity
    })
}

/// Reads the mapping in the process's own memory.
fn from_memory(process: &Running, mapped: &MappedFile, what: &str) -> Result<Segment, RecordError> {
    let path = format!("/proc/{}/mem", process.pid);
    let unreadable = |source| RecordError::Unreadable {
        path: path.clone().into(),
        source,
    };
    let memory = File::open(&path).map_err(unreadable)?;
    let mut head = vec![0; DATA_AT];
    read_exactly(&memory, &mut head, mapped.parts[0].range.start).map_err(unreadable)?;
    let used = used_bytes(&head, what)?;
    let mapped_end = mapped
        .parts
        .iter()
        .map(|part| {
            part.offset
                .saturating_add(part.range.end - part.range.start)
        })
        .max();
    let mut bytes = vec![0; used.min(mapped_end.unwrap_or(0)) as usize];
    for part in &mapped.parts {
        let from = (part.offset as usize).min(bytes.len());
        let to = from
            .saturating_add((part.range.end - part.range.start) as usize)
            .min(bytes.len());
        read_mapped(&memory, &mut bytes[from..to], part.range.start);
    }
    Ok(Segment { bytes })
}

/// Page by page where need be: what was cut off under the mapping stays zero.
fn read_mapped(memory: &File, bytes: &mut [u8], address: u64) {
    const STEP: usize = 256 << 10;
    for (step, chunk) in bytes.chunks_mut(STEP).enumerate() {
        let at = address + (step * STEP) as u64;
        if read_exactly(memory, chunk, at).is_err() {
            for (page, chunk) in chunk.chunks_mut(4096).enumerate() {
                let _ = read_exactly(memory, chunk, at + (page * 4096) as u64);
            }
        }
    }
}

fn read_exactly(memory: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    memory.read_exact_at(buffer, at)
}
