//! The name of a segment's file: pid namespace, pid, start time and a count.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::render::safe::safe;

/// `<pid-namespace inode>.<pid>.<starttime>.<n>`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// Inode of the pid namespace that the pid is of
    pub namespace: u64,
    /// The pid there
    pub pid: i32,
    /// Clock ticks from boot to the start of the process
    pub start_ticks: u64,
    /// Set apart from earlier ones of the same process (exec)
    pub count: u64,
}

impl SegmentName {
    /// Reads a file name; anything else in the folder is none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse::<u64>().ok()).flatten()
        });
        let mut next = || parts.next().flatten();
        let found = Self {
            namespace: next()?,
            pid: i32::try_from(next()?).ok().filter(|pid| *pid > 0)?,
            start_ticks: next()?,
            count: next()?,
        };
        (name.split('.').count() == 4).then_some(found)
    }

    /// The same, from the last part of a path.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Self> {
        Self::parse(path.file_name()?.to_str()?)
    }
}

/// The folder that holds one folder of segments per user: MEMGUARD_DIR where
/// the library obeys it.
#[must_use]
pub fn base_folder() -> PathBuf {
    let named = named_folder().filter(|folder| obeyed(folder));
    named.map_or_else(|| PathBuf::from(DEFAULT_FOLDER), PathBuf::from)
}

/// Where records are unless MEMGUARD_DIR says otherwise.
pub const DEFAULT_FOLDER: &str = "/dev/shm/memguard";

/// MEMGUARD_DIR; empty is as good as not set.
#[must_use]
pub fn named_folder() -> Option<OsString> {
    std::env::var_os("MEMGUARD_DIR").filter(|folder| !folder.is_empty())
}

/// The library's own rule: an absolute path of at most 200 bytes, but for one
/// slash at its end.
#[must_use]
pub fn obeyed(folder: &OsStr) -> bool {
    let bytes = folder.as_bytes();
    let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
    bytes.first() == Some(&b'/') && bytes.len() <= 200
}

/// Fails where the library would not write to the folder that we were told.
///
/// # Errors
/// When MEMGUARD_DIR makes no sense.
pub fn check_folder() -> Result<(), Error> {
    match named_folder().filter(|folder| !obeyed(folder)) {
        None => Ok(()),
        Some(folder) => Err(Error::Usage(format!(
            "MEMGUARD_DIR={} is no absolute path of at most 200 bytes, so the library does not use it; set another or unset it.",
            safe(&folder.to_string_lossy())
        ))),
    }
}

/// The file beside a segment with what the kernel said at the last look.
#[must_use]
pub fn look_path(segment: &Path) -> PathBuf {
    let mut path = segment.as_os_str().to_owned();
    path.push(".look");
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_names_only() {
        let name = SegmentName {
            namespace: 4_026_531_836,
            pid: 12,
            start_ticks: 345,
            count: 1,
        };
        assert_eq!(SegmentName::parse("4026531836.12.345.1"), Some(name));
        for other in [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.4.look",
            "a.2.3.4",
            "1.-2.3.4",
            "1.0.3.4",
            "+1.2.3.4",
            "1..3.4",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn folders_are_obeyed_as_the_library_does() {
        let long = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
        for good in ["/a", "/a/", &long(200), &format!("{}/", long(200))] {
            assert!(obeyed(OsStr::new(good)), "{good}");
        }
        for bad in ["a", "./a", "/", "~/a", &long(201)] {
            assert!(!obeyed(OsStr::new(bad)), "{bad}");
        }
    }

    #[test]
    fn a_look_lies_beside_its_segment() {
        assert_eq!(
            look_path(Path::new("/a/1.2.3.4")),
            Path::new("/a/1.2.3.4.look")
        );
    }
}
