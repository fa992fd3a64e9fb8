//! Opens files that a program names, in that program's root, without being
//! led elsewhere.

use crate::kernel::{KernelError, Namespaces, ProcDir};
use memchr::memmem;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{FileType, MemfdFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Larger files are not read: their copy would take too much memory.
const SIZE_CAP_BYTES: u64 = 4 << 30;

/// Why a module's frames have no names.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Missing {
    /// Not there.
    #[error("{0} is not there any more; install the same build again to see its functions.")]
    Gone(String),
    /// Another file than the one that was loaded.
    #[error(
        "{0} was replaced by another build since the program loaded it; \
         restart the program, or put the old file back to see its functions."
    )]
    Changed(String),
    /// Not ours to read.
    #[error("This user may not read {0}; run memguard as root to see its functions.")]
    NotPermitted(String),
    /// A directory, pipe or device.
    #[error("{0} is not a regular file, so its functions cannot be shown; check what replaced it.")]
    NotRegular(String),
    /// More than memguard copies.
    #[error("{0} is larger than 4 GiB and was not read; strip it to see its functions.")]
    TooLarge(String),
    /// Anything else.
    #[error(
        "{path} could not be read ({reason}); its functions are shown as offsets: check the file."
    )]
    Unreadable {
        /// The file.
        path: String,
        /// What was wrong.
        reason: String,
    },
}

impl Missing {
    fn from_errno(path: &Path, errno: Errno) -> Self {
        let name = path.display().to_string();
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::Gone(name),
            Errno::ACCESS | Errno::PERM => Self::NotPermitted(name),
            Errno::NOSYS => {
                Self::unreadable(path, "this kernel is older than 5.6 and has no openat2")
            }
            other => Self::unreadable(path, other),
        }
    }

    /// A file that was found but makes no sense.
    pub fn unreadable(path: &Path, reason: impl ToString) -> Self {
        Self::Unreadable {
            path: path.display().to_string(),
            reason: reason.to_string(),
        }
    }
}

/// The directory that absolute paths start from.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    /// In our own mount namespace: a file of root's there is root's word. In
    /// a container "root" may be the watched program itself.
    ours: bool,
}

impl Root {
    /// Our own.
    pub fn host() -> Result<Self, Missing> {
        let path = Path::new("/");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty());
        dir.map(|dir| Self { dir, ours: true })
            .map_err(|errno| Missing::from_errno(path, errno))
    }

    /// The root that a process sees, in its mount namespace.
    pub fn of(process: &ProcDir) -> Result<Self, KernelError> {
        let dir = process.open_file("root", OFlags::PATH | OFlags::DIRECTORY)?;
        let mounts = process.namespace("mnt").ok();
        Ok(Self {
            dir,
            ours: mounts.is_some() && mounts == Namespaces::ours().mount,
        })
    }

    #[cfg(test)]
    pub(super) fn at(dir: OwnedFd) -> Self {
        Self { dir, ours: true }
    }

    /// Opens a regular file for reading. Symbolic links on the way are
    /// followed inside the root only (openat2, RESOLVE_IN_ROOT). What is not
    /// a regular file is never opened for reading: opening a pipe waits, and
    /// opening a device may do things.
    pub fn open(&self, path: &Path) -> Result<RegularFile, Missing> {
        // Memory that no file backs has names like `[vdso]`.
        if !path.is_absolute() {
            return Err(Missing::NotRegular(path.display().to_string()));
        }
        let found = self
            .resolve(path)
            .map_err(|errno| Missing::from_errno(path, errno))?;
        let mut file = RegularFile::from_path_fd(found, path)?;
        file.ours = self.ours;
        Ok(file)
    }

    fn resolve(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let attempt = || rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), inside);
        // EAGAIN: something on the way was renamed meanwhile.
        (0..8)
            .map(|_| attempt())
            .find(|found| !matches!(found, Err(Errno::AGAIN)))
            .unwrap_or(Err(Errno::AGAIN))
    }
}

/// An open regular file.
#[derive(Debug)]
pub struct RegularFile {
    file: OwnedFd,
    stat: Stat,
    ours: bool,
}

impl RegularFile {
    /// Reopens for reading what was only pointed at so far.
    pub fn from_path_fd(found: OwnedFd, path: &Path) -> Result<Self, Missing> {
        let fail = |errno| Missing::from_errno(path, errno);
        let stat = rustix::fs::fstat(&found).map_err(fail)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Missing::NotRegular(path.display().to_string()));
        }
        if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > SIZE_CAP_BYTES {
            return Err(Missing::TooLarge(path.display().to_string()));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path_of(&found), flags, Mode::empty()).map_err(fail)?;
        Ok(Self {
            file,
            stat,
            ours: false,
        })
    }

    /// The file for reading from its start, with a position of its own.
    pub fn file(&self) -> std::io::Result<std::fs::File> {
        std::fs::File::open(self.path())
    }

    /// Its inode.
    pub fn inode(&self) -> u64 {
        self.stat.st_ino
    }

    /// What stat(2) said when it was opened.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Its owner.
    pub fn owner(&self) -> u32 {
        self.stat.st_uid
    }

    /// Only our own root can change it: it may be mapped as it is, and what it links
    /// to may be followed.
    pub fn is_roots(&self) -> bool {
        self.ours && self.stat.st_uid == 0 && self.stat.st_mode & 0o022 == 0
    }

    /// A path by which this open file can be opened again, for as long as it
    /// is open.
    pub fn path(&self) -> PathBuf {
        path_of(&self.file)
    }

    /// A private copy in which no name of a link section is left, so that a
    /// reader neither follows the links nor is hurt when the file shrinks.
    pub fn private_copy(&self) -> Result<Self, Errno> {
        let copy = rustix::fs::memfd_create("memguard-symbols", MemfdFlags::CLOEXEC)?;
        let mut window = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            let got =
                rustix::io::retry_on_intr(|| rustix::io::pread(&self.file, &mut window[..], at))?;
            blot_out_links(&mut window[..got]);
            write_all(&copy, &window[..got], at)?;
            if got <= OVERLAP || at > SIZE_CAP_BYTES {
                break;
            }
            // A name that the window's end cuts in two is whole in the next.
            at += (got - OVERLAP) as u64;
        }
        let stat = rustix::fs::fstat(&copy)?;
        Ok(Self {
            file: copy,
            stat,
            ours: true,
        })
    }
}

fn path_of(file: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).into()
}

/// The longest of [`LINKS`].
const OVERLAP: usize = 18;

/// The sections that name other files: the file's author chooses these names,
/// and could name a pipe that blocks its reader for ever.
const LINKS: [&[u8]; 3] = [b".gnu_debuglink\0", b".gnu_debugaltlink\0", b".debug_sup\0"];

/// Makes the names of link sections unknown wherever they stand, whatever a
/// parser takes for the table of names. The rest of the file is not touched.
fn blot_out_links(bytes: &mut [u8]) {
    for name in LINKS {
        let found: Vec<usize> = memmem::find_iter(bytes, name).collect();
        found.into_iter().for_each(|at| bytes[at] = b'_');
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let done = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, bytes, at))?;
        bytes = bytes.get(done..).unwrap_or(&[]);
        at += done as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn root_at(folder: &Path) -> Root {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(folder, flags, Mode::empty()).expect("a folder");
        Root::at(dir)
    }

    fn contents(file: &RegularFile) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut file = std::fs::File::open(file.path()).expect("open");
        file.read_to_end(&mut bytes).expect("readable");
        bytes
    }

    #[test]
    fn a_link_in_the_root_leads_to_the_roots_file() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("etc")).expect("writable");
        std::fs::write(folder.path().join("etc/passwd"), "inside").expect("writable");
        for (name, to) in [
            ("absolute", "/etc/passwd"),
            ("upwards", "../../../../../etc/passwd"),
        ] {
            std::os::unix::fs::symlink(to, folder.path().join(name)).expect("writable");
            let file = root_at(folder.path())
                .open(&Path::new("/").join(name))
                .expect("inside");
            assert_eq!(contents(&file), b"inside", "{name}");
        }
    }

    #[test]
    fn pipes_devices_folders_and_what_is_gone_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = root_at(folder.path());
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .expect("mkfifo");
        assert!(made.success());
        let refused = |path: &str| root.open(Path::new(path)).expect_err("refused");
        assert_eq!(refused("/pipe"), Missing::NotRegular("/pipe".into()));
        assert_eq!(refused("/"), Missing::NotRegular("/".into()));
        assert_eq!(refused("/nothing"), Missing::Gone("/nothing".into()));
        let large = std::fs::File::create(folder.path().join("large")).expect("writable");
        large.set_len(SIZE_CAP_BYTES + 1).expect("sparse");
        assert_eq!(refused("/large"), Missing::TooLarge("/large".into()));
        let host = Root::host().expect("there is one");
        assert!(matches!(
            host.open(Path::new("/dev/null")),
            Err(Missing::NotRegular(_))
        ));
        assert!(matches!(
            host.open(Path::new("/proc/self/exe")),
            Err(Missing::Unreadable { .. })
        ));
    }

    #[test]
    fn a_copy_is_the_same_but_for_names_of_link_sections() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let mut expected = bytes.clone();
        // One across the edge of a window, one inside, one at the very end.
        for (at, name) in [
            ((1 << 20) - 7, LINKS[0]),
            (77, LINKS[1]),
            (3_000_000 - 11, LINKS[2]),
        ] {
            bytes[at..at + name.len()].copy_from_slice(name);
            expected[at..at + name.len()].copy_from_slice(name);
            expected[at] = b'_';
        }
        std::fs::write(folder.path().join("file"), &bytes).expect("writable");
        let file = root_at(folder.path())
            .open(Path::new("/file"))
            .expect("regular");
        let copy = file.private_copy().expect("it fits");
        assert!(contents(&copy) == expected);
        assert_eq!(contents(&file), bytes, "the file itself is not touched");
    }

    #[test]
    fn only_files_of_our_own_root_are_used_as_they_are() {
        use crate::kernel::testing::{Running, is_root, wait_for};
        if !is_root() {
            return;
        }
        let sleep = Path::new("/bin/sleep").canonicalize().expect("installed");
        let of = |words: &[&str]| {
            let child = Running::spawn(std::process::Command::new(words[0]).args(&words[1..]));
            wait_for(|| (child.process().comm == "sleep").then_some(()));
            let root = Root::of(&child.dir()).expect("our child");
            root.open(&sleep).expect("the same file").is_roots()
        };
        assert!(of(&["sleep", "60"]));
        assert!(!of(&["unshare", "--mount", "sleep", "60"]));
        let host = Root::host().expect("there is one");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "x").expect("writable");
        assert!(host.open(&file).expect("regular").is_roots());
        std::os::unix::fs::chown(&file, Some(65534), None).expect("root may");
        assert!(!host.open(&file).expect("regular").is_roots());
    }

    #[test]
    fn the_copy_outlives_a_file_that_shrinks() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("file"), [7; 10_000]).expect("writable");
        let file = root_at(folder.path())
            .open(Path::new("/file"))
            .expect("regular");
        let copy = file.private_copy().expect("it fits");
        std::fs::write(folder.path().join("file"), []).expect("writable");
        assert_eq!(contents(&copy).len(), 10_000);
    }
}
