//! Snapshot files: the kernel's facts as JSON, then the segment as it was.
//!
//! | at | what |
//! |---|---|
//! | 0 | [`MAGIC`] |
//! | 8 | length of the facts, little endian |
//! | 16 | length of the segment, 0 when there was none |
//! | 24 | the facts |
//! | next multiple of 4096 | the segment; its empty pages are holes |
//!
//! One of the files of the command line with unsafe code.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rustix::fs::{MemfdFlags, memfd_create};

use super::facts::Facts;
use crate::attach::records::open_plain;
use crate::error::{Error, OutputError, RecordError};

/// First eight bytes; the last two are the version.
pub const MAGIC: [u8; 8] = *b"MGSNAP01";
const HEAD: usize = 24;
const PAGE: usize = 4096;

/// A snapshot file, mapped.
#[derive(Debug)]
pub struct Saved {
    map: Mmap,
    segment: std::ops::Range<usize>,
    /// What the kernel said
    pub facts: Facts,
}

impl Saved {
    /// The segment, empty when the process was not instrumented.
    #[must_use]
    pub fn segment(&self) -> &[u8] {
        self.map.get(self.segment.clone()).unwrap_or_default()
    }
}

/// Writes a file that appears whole or not at all. What is no file (a device,
/// a FIFO) is written through and stays what it is; `-` is standard output.
///
/// # Errors
/// When the place does not take it.
pub fn write(path: &Path, facts: &Facts, segment: &[u8]) -> Result<(), Error> {
    if path == Path::new("-") {
        let screen = write_through(io::stdout().lock(), facts, segment);
        return screen.map_err(|source| OutputError::Screen(source).into());
    }
    let written = match place(path) {
        Some(file) => write_file(&file, facts, segment),
        None => open_as_it_is(path).and_then(|place| write_through(place, facts, segment)),
    };
    written.map_err(|source| {
        OutputError::File {
            path: path.to_owned(),
            source,
        }
        .into()
    })
}

/// The file to replace or make, links followed; none when something else is
/// there, or a link that leads nowhere yet.
fn place(path: &Path) -> Option<PathBuf> {
    match path.metadata() {
        Ok(meta) if meta.is_file() => path.canonicalize().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.symlink_metadata().is_err().then(|| path.to_owned())
        }
        _ => None,
    }
}

fn open_as_it_is(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(libc::O_NOCTTY).open(path)
}

fn write_file(path: &Path, facts: &Facts, segment: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = Path::new(&name);
    let written = write_part(part, facts, segment).and_then(|()| std::fs::rename(part, path));
    if written.is_err() {
        let _ = std::fs::remove_file(part);
    }
    written
}

/// Holes stay holes.
fn write_part(path: &Path, facts: &Facts, segment: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let start = write_head(&mut file, facts, segment)?;
    for (page, bytes) in segment.chunks(PAGE).enumerate() {
        if bytes.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start(start + (page * PAGE) as u64))?;
            file.write_all(bytes)?;
        }
    }
    file.set_len(start + segment.len() as u64)
}

/// The same bytes in a row, for what cannot be sought in.
fn write_through(mut to: impl Write, facts: &Facts, segment: &[u8]) -> io::Result<()> {
    let mut head = Vec::new();
    let start = write_head(&mut head, facts, segment)?;
    head.resize(start as usize, 0);
    to.write_all(&head)?;
    to.write_all(segment)?;
    to.flush()
}

/// All but the segment; where that begins.
fn write_head(to: &mut impl Write, facts: &Facts, segment: &[u8]) -> io::Result<u64> {
    let facts = serde_json::to_vec(facts)?;
    to.write_all(&MAGIC)?;
    to.write_all(&(facts.len() as u64).to_le_bytes())?;
    to.write_all(&(segment.len() as u64).to_le_bytes())?;
    to.write_all(&facts)?;
    Ok((HEAD + facts.len()).next_multiple_of(PAGE) as u64)
}

/// What a person calls it.
#[must_use]
pub fn name_of(path: &Path) -> &Path {
    match path == Path::new("-") {
        true => Path::new("standard input"),
        false => path,
    }
}

/// Opens one; `-` is read from standard input.
///
/// # Errors
/// When it is none, of another version, or cut off.
pub fn open(path: &Path) -> Result<Saved, Error> {
    let name = name_of(path);
    let file = if name == path {
        open_plain(path)?
    } else {
        from_stdin(name)?
    };
    // SAFETY: a private mapping of a regular file that memguard itself wrote
    // and never changes afterwards: `write` makes it whole under another name,
    // and what came from standard input is ours alone.
    let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file) };
    let map = map.map_err(|source| RecordError::Unreadable {
        path: name.to_owned(),
        source,
    })?;
    let (facts, segment) = parse(&map).map_err(|detail| RecordError::Corrupt {
        what: name.display().to_string(),
        detail: detail.to_owned(),
    })?;
    Ok(Saved {
        map,
        segment,
        facts,
    })
}

/// A copy in memory: a pipe cannot be mapped.
fn from_stdin(name: &Path) -> Result<File, Error> {
    let mut input = io::stdin().lock();
    if input.is_terminal() {
        return Err(Error::Usage(
            "`-` reads a snapshot from standard input, which is a terminal; pipe one in: \
             memguard snapshot TARGET -o - | memguard report -."
                .into(),
        ));
    }
    let unreadable = |source| RecordError::Unreadable {
        path: name.to_owned(),
        source,
    };
    let mut magic = [0; MAGIC.len()];
    match input.read_exact(&mut magic) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            return Err(unreadable(error).into());
        }
        _ if magic != MAGIC => return Err(RecordError::NotOurs(name.to_owned()).into()),
        _ => {}
    }
    let copied = memfd_create("snapshot", MemfdFlags::CLOEXEC)
        .map_err(io::Error::from)
        .and_then(|memory| {
            let mut memory = File::from(memory);
            memory.write_all(&magic)?;
            io::copy(&mut input, &mut memory).map(|_| memory)
        });
    Ok(copied.map_err(unreadable)?)
}

fn parse(bytes: &[u8]) -> Result<(Facts, std::ops::Range<usize>), &'static str> {
    let word = |at: usize| {
        bytes
            .get(at..at + 8)
            .and_then(|word| word.try_into().ok())
            .map(u64::from_le_bytes)
    };
    let length = |at| {
        word(at)
            .and_then(|length| usize::try_from(length).ok())
            .ok_or("its head is cut off")
    };
    if bytes.get(..8) != Some(&MAGIC) {
        return Err("it does not start as a snapshot");
    }
    let facts_end = HEAD
        .checked_add(length(8)?)
        .ok_or("its lengths make no sense")?;
    let facts = bytes.get(HEAD..facts_end).ok_or("it is cut off")?;
    let facts =
        serde_json::from_slice(facts).map_err(|_| "its facts are not what memguard writes")?;
    let start = facts_end.next_multiple_of(PAGE);
    let end = start
        .checked_add(length(16)?)
        .ok_or("its lengths make no sense")?;
    if end > start && end > bytes.len() {
        return Err("it is cut off");
    }
    Ok((facts, start..end))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn comes_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.mg");
        let mut segment = vec![0; 5 * PAGE + 7];
        (segment[3], segment[4 * PAGE], segment[5 * PAGE + 6]) = (1, 2, 3);
        let facts = Facts {
            pid: 9,
            comm: Some("app".into()),
            ..Facts::default()
        };
        write(&path, &facts, &segment).unwrap();
        let saved = open(&path).unwrap();
        assert_eq!((saved.segment(), &saved.facts), (&segment[..], &facts));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        write(&path, &facts, &[]).unwrap();
        assert_eq!(open(&path).unwrap().segment(), b"");
    }

    #[test]
    fn what_is_no_file_is_written_through_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (fifo, plain) = (folder.path().join("fifo"), folder.path().join("plain"));
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, 0o600.into(), 0).unwrap();
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || std::fs::read(fifo).unwrap()
        });
        write(&fifo, &Facts::default(), &[7; PAGE + 9]).unwrap();
        write(&plain, &Facts::default(), &[7; PAGE + 9]).unwrap();
        assert_eq!(reader.join().unwrap(), std::fs::read(&plain).unwrap());
        assert!(!fifo.symlink_metadata().unwrap().is_file());
        assert_eq!(
            plain.metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (link, plain) = (folder.path().join("link"), folder.path().join("plain"));
        std::os::unix::fs::symlink("plain", &link).unwrap();
        for _ in 0..2 {
            write(&link, &Facts::default(), &[7; PAGE]).unwrap();
            assert!(link.symlink_metadata().unwrap().is_symlink());
            assert_eq!(open(&plain).unwrap().segment(), &[7; PAGE]);
        }
    }

    #[test]
    fn cut_off_or_scribbled_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.mg");
        write(&path, &Facts::default(), &[7; 3 * PAGE]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in (8..whole.len()).step_by(97) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(open(&path).unwrap_err().exit_code(), 4, "{length}");
        }
        for at in 0..HEAD {
            let mut bad = whole.clone();
            bad[at] ^= 0xFF;
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(open(&path).unwrap_err().exit_code(), 4, "{at}");
        }
    }
}
