//! One directory of the state folder, held open.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, fstat, mkdirat, openat, renameat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

/// No file of ours is larger; what claims to be is not read.
const CAP_BYTES: u64 = 64 << 20;

/// A directory and its path, which is for messages only.
#[derive(Debug)]
pub struct Shelf {
    dir: OwnedFd,
    path: PathBuf,
}

impl Shelf {
    pub fn new(dir: OwnedFd, path: PathBuf) -> Self {
        Self { dir, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory in it, made if need be; itself without a name.
    pub fn below(&self, name: Option<&str>) -> io::Result<Self> {
        let path = name.map_or_else(|| self.path.clone(), |name| self.path.join(name));
        let name = name.unwrap_or(".");
        match mkdirat(&self.dir, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self::new(
            openat(&self.dir, name, flags, Mode::empty())?,
            path,
        ))
    }

    /// The file that is locked. It is never removed: a lock on a file that is
    /// gone protects nothing.
    pub fn lock_file(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(
            &self.dir,
            "lock",
            flags,
            Mode::from_raw_mode(0o600),
        )?)
    }

    /// A file's bytes, none when there is no such file.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let stat = fstat(&file)?;
        let own = rustix::process::geteuid().as_raw();
        let ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_uid == own
            && u64::try_from(stat.st_size).is_ok_and(|size| size <= CAP_BYTES);
        if !ours {
            return Err(io::Error::other("it is not a file that memguard made"));
        }
        let mut bytes = Vec::new();
        File::from(file).take(CAP_BYTES).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Writes under another name, makes sure of it, and gives it its name: a
    /// crash at any moment leaves the old file or the new one.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let part = format!("{name}.part");
        match unlinkat(&self.dir, part.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.dir, part.as_str(), flags, Mode::from_raw_mode(0o600))?;
        let mut file = File::from(file);
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        let written = written
            .and_then(|()| Ok(renameat(&self.dir, part.as_str(), &self.dir, name)?))
            .and_then(|()| Ok(rustix::fs::fsync(&self.dir)?));
        if written.is_err() {
            let _ = unlinkat(&self.dir, part.as_str(), AtFlags::empty());
        }
        written
    }

    /// A file to add to, of which only one older is kept.
    pub fn log(&self, name: &str, cap_bytes: u64) -> io::Result<File> {
        let flags = OFlags::RDWR
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let open = || openat(&self.dir, name, flags, Mode::from_raw_mode(0o600));
        let file = open()?;
        let stat = fstat(&file)?;
        let own = rustix::process::geteuid().as_raw();
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_uid != own {
            return Err(io::Error::other("it is not a file that memguard made"));
        }
        if u64::try_from(stat.st_size).is_ok_and(|size| size > cap_bytes) {
            let before = format!("{name}.1");
            renameat(&self.dir, name, &self.dir, before.as_str())?;
            return Ok(File::from(open()?));
        }
        Ok(File::from(file))
    }

    pub fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Moves a file into another directory, under a name that is free there.
    pub fn move_to(&self, name: &str, other: &Self) -> io::Result<PathBuf> {
        for count in 1..10_000 {
            let free = format!("{name}.{count}");
            let flags = RenameFlags::NOREPLACE;
            match renameat_with(&self.dir, name, &other.dir, free.as_str(), flags) {
                Ok(()) => return Ok(other.path.join(free)),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(io::Error::other("too many files were set aside already"))
    }

    /// Names of its files, and how long ago each was written.
    pub fn names(&self) -> io::Result<Vec<(String, Duration)>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            let Some(name) = entry
                .file_name()
                .to_str()
                .ok()
                .filter(|name| is_whole(name))
            else {
                continue;
            };
            let Ok(stat) = statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let written = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
            let age = SystemTime::now().duration_since(UNIX_EPOCH + written);
            names.push((name.to_owned(), age.unwrap_or_default()));
        }
        names.sort();
        Ok(names)
    }
}

fn is_whole(name: &str) -> bool {
    name.ends_with(".json")
}
