//! What the machine allows: the kernel's age, the place for segments, and the
//! library's own file.

use super::elf_view::ElfView;
use super::finding::{Finding, Severity};
use crate::attach::name::{DEFAULT_FOLDER, base_folder, named_folder, obeyed};
use crate::kernel::text::lossy;
use crate::kernel::{ProcDir, Process};
use crate::symbols::open::Root;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, StatVfs, StatVfsMountFlags};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// With less than this free, the light mode's tables may not fit.
const LITTLE_SPACE_BYTES: u64 = 8 << 20;

/// What memguard itself is set up with.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The library that would be preloaded, if it was found.
    pub library: Option<PathBuf>,
    /// The folder for segments, from MEMGUARD_DIR or the default.
    pub segments: PathBuf,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            library: None,
            segments: base_folder(),
        }
    }
}

impl Surroundings {
    /// What the library's own file says.
    pub(super) fn library_view(&self) -> Option<ElfView> {
        let path = self.library.as_ref()?.canonicalize().ok()?;
        ElfView::read(&Root::host().ok()?.open(&path).ok()?).ok()
    }
}

/// Where the program runs.
#[derive(Debug)]
pub enum Place {
    /// It will run here.
    Here,
    /// It runs, and its root may be another.
    There {
        /// Its root, if this user may go there.
        root: Option<OwnedFd>,
        /// MEMGUARD_DIR in its environment.
        folder: Option<OsString>,
        /// MEMGUARD_DISABLE in its environment.
        disable: Option<OsString>,
        /// Its user.
        uid: u32,
    },
}

impl Place {
    /// The place of a process.
    pub fn of(dir: &ProcDir, process: &Process) -> Self {
        let environment = dir.read("environ").unwrap_or_default();
        let value = |name: &[u8]| {
            let mut settings = environment.split(|&byte| byte == 0);
            let value = settings.find_map(|setting| setting.strip_prefix(name))?;
            Some(OsStr::from_bytes(value).to_owned())
        };
        Self::There {
            root: dir.open_file("root", OFlags::PATH | OFlags::DIRECTORY).ok(),
            folder: value(b"MEMGUARD_DIR=").filter(|folder| !folder.is_empty()),
            disable: value(b"MEMGUARD_DISABLE="),
            uid: process.euid,
        }
    }
}

/// All rules.
pub fn all(surroundings: &Surroundings, place: &Place) -> Vec<Finding> {
    let release = rustix::system::uname();
    let mut findings = vec![kernel(&release.release().to_string_lossy())];
    findings.extend(segments(surroundings, place));
    findings.extend(switched_off(place));
    findings.extend(unused_folder(place));
    findings.extend(hidden_processes(place));
    findings
}

/// Calls that newer kernels have.
fn kernel(release: &str) -> Finding {
    let version = version(release);
    let (lost, since) = match version {
        Some(version) if version < (5, 6) => (
            "it can neither copy descriptors of other processes (pidfd_getfd) nor open files inside their root (openat2), and the library's tables are small and fixed",
            "5.14",
        ),
        Some(version) if version < (5, 14) => (
            "it cannot reserve memory without a risk (MADV_POPULATE_WRITE), so the library's tables are small and fixed",
            "5.14",
        ),
        _ => {
            return Finding::ok(
                "kernel",
                format!("Linux {release} has every call that memguard uses."),
            );
        }
    };
    let sentence = format!("Linux {release} is old: {lost}.");
    Finding::new(
        "kernel",
        Severity::Limits,
        sentence,
        format!("Use Linux {since} or later to see everything."),
    )
}

/// The first two numbers of a release like `6.1.0-13-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// A MEMGUARD_DIR that the library does not obey.
fn unused_folder(place: &Place) -> Option<Finding> {
    let named = match place {
        Place::Here => named_folder(),
        Place::There { folder, .. } => folder.clone(),
    };
    let named = named.filter(|folder| !obeyed(folder))?;
    let sentence = format!(
        "MEMGUARD_DIR={} is no absolute path of at most 200 bytes: the library puts its records into {DEFAULT_FOLDER}.",
        named.to_string_lossy()
    );
    let remedy = "Set it to an absolute path, for memguard as well, or unset it.";
    Some(Finding::new("folder", Severity::Limits, sentence, remedy))
}

/// MEMGUARD_DISABLE, by the library's own rule.
fn switched_off(place: &Place) -> Option<Finding> {
    let value = match place {
        Place::Here => std::env::var_os("MEMGUARD_DISABLE"),
        Place::There { disable, .. } => disable.clone(),
    };
    let value = value.filter(|value| ["1", "true", "yes", "on"].iter().any(|on| value == on))?;
    let sentence = format!(
        "MEMGUARD_DISABLE={} is set: the library does nothing.",
        value.to_string_lossy()
    );
    let remedy = "Unset it and start the program again.";
    Some(Finding::new("disabled", Severity::Blocks, sentence, remedy))
}

/// Why a program that is started here would leave no record, if that lies in
/// what is here.
pub fn no_record(surroundings: &Surroundings) -> Option<Finding> {
    let in_memory =
        || segments(surroundings, &Place::Here).filter(|finding| finding.severity != Severity::Ok);
    switched_off(&Place::Here).or_else(in_memory)
}

/// The place for segments, as the program sees it.
fn segments(surroundings: &Surroundings, place: &Place) -> Option<Finding> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let host = rustix::fs::open("/", flags, Mode::empty()).ok()?;
    let (root, folder, user) = match place {
        Place::Here => (&host, None, rustix::process::geteuid().as_raw()),
        Place::There {
            root, folder, uid, ..
        } => (root.as_ref()?, folder.as_ref(), *uid),
    };
    let folder = match folder {
        None => surroundings.segments.as_path(),
        Some(named) if obeyed(named) => Path::new(named),
        Some(_) => Path::new(DEFAULT_FOLDER),
    };
    Some(match nearest(root, folder) {
        None => no_folder(folder),
        Some(found) => taken(root, folder, user).unwrap_or_else(|| found.finding(folder, user)),
    })
}

/// Something else is where the folder or the user's own one should be.
fn taken(root: &OwnedFd, folder: &Path, user: u32) -> Option<Finding> {
    let stat = |path: &Path, more: OFlags| {
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC | more;
        let found = rustix::fs::openat2(root, path, flags, Mode::empty(), inside).ok()?;
        rustix::fs::fstat(found).ok()
    };
    let is_folder = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let private = |stat: &Stat| is_folder(stat) && stat.st_uid == user && stat.st_mode & 0o077 == 0;
    let own = folder.join(user.to_string());
    // A link to a folder will do for the one that all share.
    let base = stat(folder, OFlags::empty()).or_else(|| stat(folder, OFlags::NOFOLLOW));
    let what = if base.is_some_and(|stat| !is_folder(&stat)) {
        format!("{} is no folder", folder.display())
    } else if stat(&own, OFlags::NOFOLLOW).is_some_and(|stat| !private(&stat)) {
        format!("{} is no folder of the user {user} alone", own.display())
    } else {
        return None;
    };
    let sentence =
        format!("{what}: the library keeps its records in memory that ends with the process.");
    let remedy = "Set MEMGUARD_DIR to another folder that the program can write to.";
    Some(Finding::new("shm", Severity::Limits, sentence, remedy))
}

/// A folder that is there.
struct Folder {
    path: PathBuf,
    stat: Stat,
    space: StatVfs,
}

/// The folder itself or, before the first program has run, the one above it.
fn nearest(root: &OwnedFd, folder: &Path) -> Option<Folder> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let above = folder
        .ancestors()
        .take(2)
        .filter(|folder| folder.parent().is_some());
    let mut found = above.filter_map(|path| {
        let dir = rustix::fs::openat2(root, path, flags, Mode::empty(), inside).ok()?;
        Some(Folder {
            path: path.to_owned(),
            stat: rustix::fs::fstat(&dir).ok()?,
            space: rustix::fs::fstatvfs(&dir).ok()?,
        })
    });
    found.next()
}

fn no_folder(folder: &Path) -> Finding {
    let sentence = format!(
        "There is no {} for the library to write to: it keeps its records in memory that ends with the process.",
        folder.parent().unwrap_or(folder).display()
    );
    let remedy =
        "Mount a tmpfs there, or set MEMGUARD_DIR to a folder that the program can write to.";
    Finding::new("shm", Severity::Limits, sentence, remedy)
}

impl Folder {
    /// What stands in the way of that user's records, if anything.
    fn finding(&self, folder: &Path, user: u32) -> Finding {
        let (shown, free) = (
            self.path.display(),
            self.space.f_bavail.saturating_mul(self.space.f_frsize),
        );
        let in_memory = "the library keeps its records in memory that ends with the process";
        let sentence = if self.space.f_flag.contains(StatVfsMountFlags::RDONLY) {
            format!("{shown} is mounted read-only: {in_memory}.")
        } else if !self.may_write(user) {
            format!("The user {user} may not write to {shown}: {in_memory}.")
        } else if free < LITTLE_SPACE_BYTES {
            format!(
                "{shown} has only {} KiB left: the library's tables may not fit.",
                free >> 10
            )
        } else {
            return Finding::ok(
                "shm",
                format!("{} has room for the library's records.", folder.display()),
            );
        };
        let remedy = "Set MEMGUARD_DIR to another folder that the program can write to, on a tmpfs if possible.";
        Finding::new("shm", Severity::Limits, sentence, remedy)
    }

    /// By the mode alone; whoever may write by the group's bit is given the
    /// benefit of the doubt.
    fn may_write(&self, user: u32) -> bool {
        let owners = self.stat.st_uid == user && self.stat.st_mode & 0o200 != 0;
        user == 0 || owners || self.stat.st_mode & 0o022 != 0
    }
}

/// hidepid hides processes of other users.
fn hidden_processes(place: &Place) -> Option<Finding> {
    let Place::Here = place else { return None };
    let mounts = std::fs::read("/proc/self/mountinfo").ok()?;
    let mounts = lossy(&mounts);
    let proc = mounts.lines().find(|line| line.contains(" - proc "))?;
    let hidden = [
        "hidepid=1",
        "hidepid=2",
        "hidepid=invisible",
        "hidepid=noaccess",
    ];
    let applies =
        hidden.iter().any(|option| proc.contains(option)) && !rustix::process::geteuid().is_root();
    applies.then(|| {
        let sentence =
            "/proc is mounted with hidepid: processes of other users are not to be seen.";
        Finding::new(
            "hidepid",
            Severity::Note,
            sentence,
            "Run memguard as root to see them.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_limit() {
        assert_eq!(kernel("5.4.0-200-generic").severity, Severity::Limits);
        assert_eq!(kernel("5.10.0-28-amd64").severity, Severity::Limits);
        assert_eq!(kernel("5.14.0").severity, Severity::Ok);
        assert_eq!(kernel("6.18").severity, Severity::Ok);
        assert!(kernel("5.4.0").sentence.contains("pidfd_getfd"));
        assert!(!kernel("5.10.0").sentence.contains("pidfd_getfd"));
        assert_eq!(version("rubbish"), None);
    }

    #[test]
    fn a_folder_that_is_missing_is_noticed_unless_its_parent_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: PathBuf| {
            let surroundings = Surroundings {
                library: None,
                segments: path,
            };
            segments(&surroundings, &Place::Here)
                .expect("a finding")
                .severity
        };
        assert_eq!(at(folder.path().join("memguard")), Severity::Ok);
        assert_eq!(at(folder.path().join("no/memguard")), Severity::Limits);
    }

    #[test]
    fn what_stands_in_the_place_of_the_users_folder_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = |path: &Path| {
            let surroundings = Surroundings {
                library: None,
                segments: path.to_owned(),
            };
            let finding = segments(&surroundings, &Place::Here).expect("a finding");
            (finding.severity, finding.sentence)
        };
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("written");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/no/such/folder", &link).expect("linked");
        for path in [&file, &link] {
            let (severity, sentence) = said(path);
            assert_eq!(severity, Severity::Limits);
            assert!(sentence.contains("is no folder:"), "{sentence}");
        }
        let base = folder.path().join("base");
        let own = base.join(rustix::process::geteuid().as_raw().to_string());
        std::fs::create_dir_all(&own).expect("made");
        let set = |mode| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(&own, mode).expect("set");
        };
        set(0o700);
        assert_eq!(said(&base).0, Severity::Ok);
        set(0o777);
        assert!(said(&base).1.contains("alone"), "{}", said(&base).1);
    }

    #[test]
    fn a_folder_of_somebody_else_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let user = rustix::process::geteuid().as_raw();
        let dir = rustix::fs::open("/", OFlags::PATH, Mode::empty()).expect("a root");
        let found = nearest(&dir, folder.path()).expect("it is there");
        assert_eq!(found.finding(folder.path(), user).severity, Severity::Ok);
        assert_eq!(
            found.finding(folder.path(), 4_000_000).severity,
            Severity::Limits
        );
    }
}
