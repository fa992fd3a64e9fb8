//! The name of a segment's file: pid namespace, pid, start time and a count.

use std::path::{Path, PathBuf};

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

/// The folder that holds one folder of segments per user.
#[must_use]
pub fn base_folder() -> PathBuf {
    let named = std::env::var_os("MEMGUARD_DIR").filter(|folder| !folder.is_empty());
    named.map_or_else(|| PathBuf::from("/dev/shm/memguard"), PathBuf::from)
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
    fn a_look_lies_beside_its_segment() {
        assert_eq!(
            look_path(Path::new("/a/1.2.3.4")),
            Path::new("/a/1.2.3.4.look")
        );
    }
}
