//! The state folder: `$MEMGUARD_STATE`, else `$XDG_STATE_HOME/memguard`, else
//! `~/.local/state/memguard`.
//!
//! Root's is `/var/lib/memguard` unless MEMGUARD_STATE says otherwise: with
//! sudo, HOME and XDG_STATE_HOME may be somebody else's, and what root learns
//! must not depend on how one became root.
//!
//! The folder is ours alone (0700) and held open; all in it is opened relative
//! to it and never through a link. On the way to it links are followed only
//! when root or we ourselves made them.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::fs::{
    CWD, FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat, mkdirat, openat, readlinkat,
};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StateError;
use super::sealed;
use super::shelf::Shelf;

/// How long another memguard may hold the lock: it does so for milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Links followed on the way, as the kernel has it.
const LINKS: usize = 40;

/// The state folder, open.
#[derive(Debug)]
pub struct Folder {
    top: Shelf,
}

/// The right to change what is in the folder, until dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "closing it unlocks")] OwnedFd);

/// What of the folder is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One file a program
    Programs,
    /// One file a process
    Processes,
    /// The folder itself
    Top,
}

impl Part {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Programs => Some("programs"),
            Self::Processes => Some("processes"),
            Self::Top => None,
        }
    }
}

/// Fails where MEMGUARD_STATE would mean another folder wherever one stands.
///
/// # Errors
/// Then.
pub fn check_place() -> Result<(), StateError> {
    let named = std::env::var_os("MEMGUARD_STATE").map(PathBuf::from);
    let relative = named.filter(|path| !path.as_os_str().is_empty() && path.is_relative());
    relative.map_or(Ok(()), |path| Err(StateError::Relative { path }))
}

/// Where it is, by the environment.
///
/// # Errors
/// When nothing in it tells.
pub fn place() -> Result<PathBuf, StateError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    chosen(rustix::process::geteuid().is_root(), variable).ok_or(StateError::Nowhere)
}

fn chosen(root: bool, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(named) = variable("MEMGUARD_STATE") {
        return std::path::absolute(named).ok();
    }
    if root {
        return Some(PathBuf::from("/var/lib/memguard"));
    }
    // Relative ones are invalid, says the XDG base directory specification.
    let folder = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let xdg = folder("XDG_STATE_HOME");
    xdg.or_else(|| Some(folder("HOME")?.join(".local/state")))
        .map(|base| base.join("memguard"))
}

impl Folder {
    /// Opens the one that the environment names, and makes it if need be.
    ///
    /// # Errors
    /// When it cannot be made, or is not ours.
    pub fn open() -> Result<Self, StateError> {
        Self::at(&place()?)
    }

    /// Opens one.
    ///
    /// # Errors
    /// When it cannot be made, or is not ours.
    pub fn at(path: &Path) -> Result<Self, StateError> {
        let dir = walk(path)?;
        let unusable = |errno: Errno| StateError::Unusable {
            path: path.to_owned(),
            source: errno.into(),
        };
        let stat = fstat(&dir).map_err(unusable)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(StateError::Foreign {
                path: path.to_owned(),
                owner: stat.st_uid,
            });
        }
        if stat.st_mode & 0o077 != 0 {
            fchmod(&dir, Mode::from_raw_mode(0o700)).map_err(unusable)?;
        }
        Ok(Self {
            top: Shelf::new(dir, path.to_owned()),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.top.path()
    }

    /// Waits for the right to change it.
    ///
    /// # Errors
    /// When another memguard has it for seconds.
    pub fn lock(&self) -> Result<Lock, StateError> {
        let file = self
            .top
            .lock_file()
            .map_err(|source| self.unusable(source))?;
        let start = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(file)),
                Err(Errno::WOULDBLOCK | Errno::INTR) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    return Err(StateError::Busy {
                        path: self.path().to_owned(),
                    });
                }
                Err(errno) => return Err(self.unusable(errno.into())),
            }
        }
    }

    fn shelf(&self, part: Part) -> Result<Shelf, StateError> {
        self.top
            .below(part.name())
            .map_err(|source| self.unusable(source))
    }

    /// What a file holds; none when there is none. One that cannot be believed
    /// is set aside, and a sentence about that is added to the notes.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn load<T: DeserializeOwned>(
        &self,
        _: &Lock,
        (part, name): (Part, &str),
        content: &str,
        notes: &mut Vec<String>,
    ) -> Result<Option<T>, StateError> {
        let shelf = self.shelf(part)?;
        let flaw = match shelf.read(name) {
            Ok(None) => return Ok(None),
            Ok(Some(file)) => match sealed::open(content, &file) {
                Ok(value) => return Ok(Some(value)),
                Err(flaw) => flaw.to_string(),
            },
            Err(error) => error.to_string(),
        };
        let aside = self
            .top
            .below(Some("aside"))
            .and_then(|aside| shelf.move_to(name, &aside))
            .map_err(|source| self.unusable(source))?;
        notes.push(format!(
            "What was kept in {} could not be used ({flaw}); it was moved to {}, and memguard learns anew.",
            shelf.path().join(name).display(),
            aside.display()
        ));
        Ok(None)
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn store(
        &self,
        _: &Lock,
        (part, name): (Part, &str),
        content: &str,
        value: &impl Serialize,
    ) -> Result<(), StateError> {
        let bytes = sealed::seal(content, value).map_err(|error| self.unusable(error.into()))?;
        self.shelf(part)?
            .write(name, &bytes)
            .map_err(|source| self.unusable(source))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn remove(&self, _: &Lock, (part, name): (Part, &str)) -> Result<(), StateError> {
        self.shelf(part)?
            .remove(name)
            .map_err(|source| self.unusable(source))
    }

    /// Names of the files of a part, and when each was last written.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn names(&self, part: Part) -> Result<Vec<(String, Duration)>, StateError> {
        self.shelf(part)?
            .names()
            .map_err(|source| self.unusable(source))
    }

    /// A log to add lines to. One that is larger than the cap becomes the log
    /// before, and the one before that is forgotten.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn log(&self, name: &str, cap_bytes: u64) -> Result<File, StateError> {
        let _lock = self.lock()?;
        self.top
            .log(name, cap_bytes)
            .map_err(|source| self.unusable(source))
    }

    /// The bytes of a log and of the one before, that first.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn read_log(&self, name: &str) -> Result<Vec<u8>, StateError> {
        let read = |name: &str| self.top.read(name).map_err(|source| self.unusable(source));
        let mut bytes = read(&format!("{name}.1"))?.unwrap_or_default();
        bytes.extend(read(name)?.unwrap_or_default());
        Ok(bytes)
    }

    fn unusable(&self, source: io::Error) -> StateError {
        StateError::Unusable {
            path: self.path().to_owned(),
            source,
        }
    }
}

/// From the root to the folder, one name at a time, making what is missing.
fn walk(path: &Path) -> Result<OwnedFd, StateError> {
    let unusable = |errno: Errno| StateError::Unusable {
        path: path.to_owned(),
        source: errno.into(),
    };
    let own = rustix::process::geteuid().as_raw();
    let root = || openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let mut at = root().map_err(unusable)?;
    let mut todo = names_backwards(path);
    let mut links = 0;
    while let Some(name) = todo.pop() {
        let next = step(&at, &name).map_err(unusable)?;
        let stat = fstat(&next).map_err(unusable)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            at = next;
            continue;
        }
        if stat.st_uid != 0 && stat.st_uid != own {
            return Err(StateError::Foreign {
                path: path.to_owned(),
                owner: stat.st_uid,
            });
        }
        links += 1;
        if links > LINKS {
            return Err(unusable(Errno::LOOP));
        }
        let target = readlinkat(&next, "", Vec::new()).map_err(unusable)?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            at = root().map_err(unusable)?;
        }
        todo.extend(names_backwards(&target));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(&at, ".", flags, Mode::empty()).map_err(unusable)
}

fn names_backwards(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    let mut names: Vec<OsString> = names.collect();
    names.reverse();
    names
}

fn step(at: &OwnedFd, name: &OsString) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(at, name, flags, Mode::empty());
    match open() {
        Err(Errno::NOENT) => match mkdirat(at, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => open(),
            Err(errno) => Err(errno),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn by(variables: &[(&str, &str)], root: bool) -> Option<PathBuf> {
        chosen(root, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_environment_chooses_in_the_promised_order() {
        let all = [
            ("MEMGUARD_STATE", "/s"),
            ("XDG_STATE_HOME", "/x"),
            ("HOME", "/h"),
        ];
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(by(&all, false), path("/s"));
        assert_eq!(by(&all, true), path("/s"));
        assert_eq!(by(&all[1..], false), path("/x/memguard"));
        assert_eq!(by(&all[2..], false), path("/h/.local/state/memguard"));
        assert_eq!(by(&all[1..], true), path("/var/lib/memguard"));
        assert_eq!(
            by(&[("XDG_STATE_HOME", "not/absolute"), ("HOME", "/h")], false),
            path("/h/.local/state/memguard")
        );
        assert_eq!(by(&[], false), None);
    }

    #[test]
    fn what_is_kept_comes_back_and_is_for_its_user_only() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        let folder = Folder::at(&path).unwrap();
        let lock = folder.lock().unwrap();
        let mut notes = Vec::new();
        let file = (Part::Programs, "one.json");
        assert_eq!(
            folder.load::<u32>(&lock, file, "n", &mut notes).unwrap(),
            None
        );
        folder.store(&lock, file, "n", &7_u32).unwrap();
        assert_eq!(
            folder.load(&lock, file, "n", &mut notes).unwrap(),
            Some(7_u32)
        );
        assert!(notes.is_empty());
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("programs")), 0o700);
        assert_eq!(mode(&path.join("programs/one.json")), 0o600);
        assert_eq!(folder.names(Part::Programs).unwrap().len(), 1);
    }

    #[test]
    fn a_folder_open_to_others_is_closed_to_them() {
        let base = tempfile::tempdir().unwrap();
        std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Folder::at(base.path()).unwrap();
        assert_eq!(base.path().metadata().unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_spoiled_or_later_file_is_set_aside_and_kept() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::at(base.path()).unwrap();
        let lock = folder.lock().unwrap();
        let file = (Part::Top, "labels.json");
        let path = base.path().join("labels.json");
        for spoiled in ["", "nonsense\n{}", "memguard.state/9 n 0\n{}"] {
            std::fs::write(&path, spoiled).unwrap();
            let mut notes = Vec::new();
            let found = folder.load::<u32>(&lock, file, "n", &mut notes).unwrap();
            assert_eq!((found, notes.len()), (None, 1));
            assert!(notes[0].contains("was moved to") && notes[0].ends_with("learns anew."));
            assert!(!path.exists());
        }
        let mut kept: Vec<String> = std::fs::read_dir(base.path().join("aside"))
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        kept.sort();
        assert_eq!(kept, ["", "memguard.state/9 n 0\n{}", "nonsense\n{}"]);
    }

    #[test]
    fn a_link_in_place_of_a_file_is_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let folder = Folder::at(base.path()).unwrap();
        let lock = folder.lock().unwrap();
        let victim = other.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        symlink(&victim, base.path().join("labels.json")).unwrap();
        let mut notes = Vec::new();
        let file = (Part::Top, "labels.json");
        assert_eq!(
            folder.load::<u32>(&lock, file, "n", &mut notes).unwrap(),
            None
        );
        assert_eq!(notes.len(), 1, "{notes:?}");
        folder.store(&lock, file, "n", &1_u32).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        symlink(other.path(), base.path().join("programs")).unwrap();
        assert!(
            folder
                .store(&lock, (Part::Programs, "x"), "n", &1_u32)
                .is_err()
        );
        assert!(!other.path().join("x").exists());
    }

    #[test]
    fn a_link_that_somebody_else_made_is_not_followed() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let base = tempfile::tempdir().unwrap();
        let link = base.path().join("link");
        symlink("/tmp", &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(12_345), None).unwrap();
        let refused = Folder::at(&link.join("state")).unwrap_err();
        assert!(
            matches!(refused, StateError::Foreign { owner: 12_345, .. }),
            "{refused}"
        );
        let own = base.path().join("own");
        std::fs::create_dir(&own).unwrap();
        std::os::unix::fs::chown(&own, Some(12_345), None).unwrap();
        assert!(matches!(Folder::at(&own), Err(StateError::Foreign { .. })));
    }

    #[test]
    fn our_own_links_are_followed() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir(base.path().join("real")).unwrap();
        symlink("real", base.path().join("link")).unwrap();
        Folder::at(&base.path().join("link/state")).unwrap();
        assert!(base.path().join("real/state").is_dir());
        symlink("loop", base.path().join("loop")).unwrap();
        assert!(Folder::at(&base.path().join("loop")).is_err());
    }
}
