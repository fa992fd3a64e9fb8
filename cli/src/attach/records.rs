//! The segment files that lie in the folder: kept ones of ended processes,
//! and those of running ones.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use shm_protocol::view::{HeaderInfo, View};

use super::name::{SegmentName, base_folder, look_path};
use super::process::own_namespace;
use super::read::{self, Segment};
use crate::error::{Error, RecordError};
use crate::snapshot::look;

/// One segment file, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its path
    pub path: PathBuf,
    /// What its name says
    pub name: SegmentName,
    /// The user whose folder it lies in
    pub folder_uid: u32,
}

/// Every segment file of this user, or of all users for root, but for those of
/// images that exec replaced by one of another user (gosu, setpriv).
#[must_use]
pub fn all() -> Vec<Record> {
    latest_users(every())
}

/// They come by process.
fn latest_users(records: Vec<Record>) -> Vec<Record> {
    let of_one_process = records.chunk_by(Record::same_process);
    let latest = |images: &[Record]| {
        let images = images.iter().filter(|one| !one.is_replaced_in(images));
        images.cloned().collect::<Vec<_>>()
    };
    of_one_process.flat_map(latest).collect()
}

/// The same, with those.
#[must_use]
pub fn every() -> Vec<Record> {
    let own = rustix::process::geteuid();
    let folders = std::fs::read_dir(base_folder())
        .into_iter()
        .flatten()
        .flatten();
    let folders =
        folders.filter_map(|entry| Some((entry.path(), entry.file_name().to_str()?.parse().ok()?)));
    let mut records: Vec<Record> = folders
        .filter(|(_, uid)| own.is_root() || *uid == own.as_raw())
        .flat_map(|(folder, uid)| in_folder(&folder, uid))
        .collect();
    records.sort_by_key(|record| (record.name, record.folder_uid));
    records
}

fn in_folder(folder: &Path, folder_uid: u32) -> Vec<Record> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let (segments, others): (Vec<PathBuf>, Vec<PathBuf>) = entries
        .map(|entry| entry.path())
        .partition(|path| SegmentName::of_path(path).is_some());
    others
        .iter()
        .filter(|path| is_orphan(path))
        .for_each(|path| {
            let _ = std::fs::remove_file(path);
        });
    let record = |path: PathBuf| {
        Some(Record {
            name: SegmentName::of_path(&path)?,
            path,
            folder_uid,
        })
    };
    let mut records: Vec<Record> = segments.into_iter().filter_map(record).collect();
    records.retain(|record| !record.dropped());
    records
}

/// A look whose segment is gone: the library removes its segment at a normal
/// end and knows nothing of looks.
fn is_orphan(path: &Path) -> bool {
    let segment = path.with_extension("");
    let is_look = path.extension().is_some_and(|end| end == "look");
    is_look && SegmentName::of_path(&segment).is_some() && segment.symlink_metadata().is_err()
}

impl Record {
    /// Copies it, if it comes from whom its folder says.
    ///
    /// # Errors
    /// When somebody else made the file, or it cannot be read or trusted.
    pub fn read(&self) -> Result<Segment, Error> {
        let file = open_plain(&self.path)?;
        let owner = file
            .metadata()
            .map_err(|source| unreadable(&self.path, source))?
            .uid();
        if !self.may_come_from(owner) {
            let owner = format!("user {owner}");
            return Err(RecordError::Forged {
                path: self.path.clone(),
                owner,
            }
            .into());
        }
        let segment = read::from_file(&file, &self.path).map_err(RecordError::of_the_dead)?;
        self.check_identity(&segment)?;
        self.check_user(&segment)?;
        Ok(segment)
    }

    /// The run that its header names, none for one that cannot be read.
    #[must_use]
    pub fn run_id(&self) -> Option<u64> {
        Some(self.header()?.run_id)
    }

    fn header(&self) -> Option<HeaderInfo> {
        let head = read::head(&open_plain(&self.path).ok()?).ok()?;
        Some(View::new(&head).ok()?.header())
    }

    /// When it was made, ns since 1970.
    #[must_use]
    pub fn created_ns(&self) -> Option<u64> {
        Some(self.header()?.created_real_ns)
    }

    /// Whether exec replaced this image, and one of another user's folder is
    /// that of later. The library of that one may not remove this record.
    fn is_replaced_in(&self, images: &[Self]) -> bool {
        let mut others = images
            .iter()
            .filter(|other| other.folder_uid != self.folder_uid)
            .peekable();
        if others.peek().is_none() {
            return false;
        }
        let replaced = self.header().filter(HeaderInfo::replaced);
        replaced
            .is_some_and(|own| others.any(|other| other.created_ns() > Some(own.created_real_ns)))
    }

    /// Removes what its process did not want but was not allowed to remove.
    fn dropped(&self) -> bool {
        let unwanted = self.header().is_some_and(|header| header.unwanted());
        if unwanted {
            self.remove();
        }
        unwanted
    }

    /// The pid that we call its process by: where that lived in a pid
    /// namespace of its own, the one that the last look saw.
    #[must_use]
    pub fn shown_pid(&self) -> i32 {
        let here = own_namespace().is_none_or(|own| own == self.name.namespace);
        let seen = || Some(look::recall(&self.path)?.pid);
        let seen = (!here).then(seen).flatten();
        seen.unwrap_or(self.name.pid)
    }

    /// Whether it speaks of the same process as another.
    #[must_use]
    pub fn same_process(&self, other: &Self) -> bool {
        let identity = |name: SegmentName| (name.namespace, name.pid, name.start_ticks);
        identity(self.name) == identity(other.name)
    }

    /// Root and we ourselves are trusted; for root also the folder's user.
    fn may_come_from(&self, owner: u32) -> bool {
        let own = rustix::process::geteuid();
        owner == 0 || owner == own.as_raw() || (own.is_root() && owner == self.folder_uid)
    }

    /// The header must speak of the process in the name.
    fn check_identity(&self, segment: &Segment) -> Result<(), RecordError> {
        let header = segment.view(&self.path.display().to_string())?.header();
        let same = (header.pid_namespace, header.pid as i32, header.start_ticks)
            == (self.name.namespace, self.name.pid, self.name.start_ticks);
        let detail = "its name and its contents speak of different processes".to_owned();
        if same {
            Ok(())
        } else {
            let what = self.path.display().to_string();
            Err(RecordError::Corrupt { what, detail }.of_the_dead())
        }
    }

    /// Nobody's record lies in another one's folder.
    fn check_user(&self, segment: &Segment) -> Result<(), RecordError> {
        let uid = segment.view("")?.header().uid;
        if uid == self.folder_uid {
            return Ok(());
        }
        Err(RecordError::Forged {
            path: self.path.clone(),
            owner: format!("user {}", self.folder_uid),
        })
    }

    /// Removes the file and what was kept beside it.
    pub fn remove(&self) {
        let _ = std::fs::remove_file(look_path(&self.path));
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Opens a regular file, never through a link and never waiting.
///
/// # Errors
/// When it cannot be opened, or is something else.
pub fn open_plain(path: &Path) -> Result<File, RecordError> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let plain = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_file());
    if path.symlink_metadata().is_ok() && !plain(path) {
        return Err(RecordError::NotOurs(path.to_owned()));
    }
    let file = File::options().read(true).custom_flags(flags).open(path);
    let file = file.map_err(|source| unreadable(path, source))?;
    let meta = file.metadata().map_err(|source| unreadable(path, source))?;
    if meta.is_file() {
        Ok(file)
    } else {
        Err(RecordError::NotOurs(path.to_owned()))
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> RecordError {
    RecordError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_without_a_segment_are_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "1.2.3.4",
            "1.2.3.4.look",
            "5.6.7.8.look",
            "notes.txt",
            "other.look",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let records = in_folder(folder.path(), 7);
        assert_eq!(
            (records.len(), records[0].folder_uid, records[0].name.pid),
            (1, 7, 2)
        );
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["1.2.3.4", "1.2.3.4.look", "notes.txt", "other.look"]);
    }
}
