//! Who a pid is right now: the few words of /proc that tell it from others.

use std::os::unix::fs::MetadataExt;

use crate::error::TargetError;
use crate::kernel::{ClocksAhead, ProcDir, threads};

/// One running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its pid here
    pub pid: i32,
    /// Its pid in its own namespace
    pub inner_pid: i32,
    /// The kernel's short name
    pub comm: String,
    /// The owner of its /proc folder
    pub uid: u32,
    /// Clock ticks from boot to its start
    pub start_ticks: u64,
}

impl Running {
    /// Looks a pid up; none when there is no such process (zombies are none:
    /// nothing of them can be looked at).
    #[must_use]
    pub fn find(pid: i32) -> Option<Self> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat).into_owned();
        let (head, tail) = stat.rsplit_once(") ")?;
        let mut fields = tail.split(' ');
        let state = fields.next()?;
        let start_ticks = fields.nth(18)?.parse().ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let leader = field("Tgid:").and_then(|id| id.trim().parse::<i32>().ok());
        let ended = matches!(state, "Z" | "X") && field("Threads:").is_none_or(|n| n.trim() == "1");
        if ended || leader.is_some_and(|leader| leader != pid) {
            return None;
        }
        let inner = field("NSpid:").and_then(|ids| ids.split_whitespace().last()?.parse().ok());
        Some(Self {
            pid,
            inner_pid: inner.unwrap_or(pid),
            comm: head.split_once('(')?.1.to_owned(),
            uid: std::fs::metadata(format!("/proc/{pid}")).ok()?.uid(),
            start_ticks,
        })
    }

    /// Whether it goes by this name: the kernel's, its program's file name, or
    /// that of the file behind links, by which its record may know it.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        self.comm == name || self.program().as_deref() == Some(name) || self.runs(name)
    }

    fn runs(&self, name: &str) -> bool {
        let file = std::fs::read_link(format!("/proc/{}/exe", self.pid)).ok();
        file.is_some_and(|path| path.file_name().is_some_and(|file| file == name))
    }

    /// The file name in its first argument.
    #[must_use]
    pub fn program(&self) -> Option<String> {
        let words = self.cmdline();
        words
            .first()
            .and_then(|path| path.rsplit('/').next())
            .map(str::to_owned)
    }

    /// Its command line as it shows it.
    #[must_use]
    pub fn cmdline(&self) -> Vec<String> {
        let bytes = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        let words = bytes
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned());
        words.filter(|_| !bytes.is_empty()).collect()
    }

    /// Its maps, or why they may not be read.
    ///
    /// # Errors
    /// Not permitted, or it ended.
    pub fn maps(&self) -> Result<Vec<u8>, TargetError> {
        let maps = std::fs::read(format!("/proc/{}/maps", self.pid));
        // Of a main thread that has ended there are none.
        let maps = match maps {
            Ok(maps) if maps.is_empty() => self.maps_of_another_thread().unwrap_or_default(),
            read => read.map_err(|source| self.explain(source))?,
        };
        Ok(maps)
    }

    fn maps_of_another_thread(&self) -> Option<Vec<u8>> {
        threads::read_shared(&ProcDir::open(self.pid).ok()?, "maps").ok()
    }

    /// Whether memguard's library is in it. A forked child has the library
    /// before it has a record.
    #[must_use]
    pub fn has_library(&self) -> bool {
        self.maps()
            .is_ok_and(|maps| super::maps::has_library(&maps))
    }

    /// Turns a failed look below its /proc folder into a sentence.
    #[must_use]
    pub fn explain(&self, source: std::io::Error) -> TargetError {
        let pid = self.pid;
        match source.kind() {
            std::io::ErrorKind::PermissionDenied => {
                let asker = rustix::process::geteuid().as_raw();
                TargetError::refused(pid, self.uid, asker)
            }
            _ if !self.still_runs() => TargetError::Vanished(pid),
            _ => TargetError::Proc { pid, source },
        }
    }

    /// Whether the pid is still the same process.
    #[must_use]
    pub fn still_runs(&self) -> bool {
        Self::find(self.pid).is_some_and(|now| now.start_ticks == self.start_ticks)
    }

    /// Whether a start that a process wrote down of itself is this one's: in a
    /// time namespace it counts by a clock of its own.
    #[must_use]
    pub fn started_at(&self, its_ticks: u64) -> bool {
        its_ticks == self.start_ticks
            || ClocksAhead::of(self.pid).is_start(its_ticks, self.start_ticks)
    }

    /// One line for a person who has to choose between watched ones and others.
    #[must_use]
    pub fn line(&self) -> String {
        let line = self.cmdline().join(" ");
        let maps = self.maps();
        let without = maps.is_ok_and(|maps| !super::maps::has_library(&maps));
        let seen = if without { "  (not watched)" } else { "" };
        format!("{:>9}  {}{seen}", self.pid, line.trim_end())
    }
}

/// Whether a pid is of a process that has ended and that its parent has not
/// yet taken note of.
#[must_use]
pub fn is_zombie(pid: i32) -> bool {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat).into_owned();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, tail)| tail.bytes().next());
    state == Some(b'Z') && Running::find(pid).is_none()
}

/// Fails where /proc is not mounted: every process would seem to have ended.
///
/// # Errors
/// Then.
pub fn need_proc() -> Result<(), TargetError> {
    let mounted = std::path::Path::new("/proc/self/stat").exists();
    mounted.then_some(()).ok_or(TargetError::NoProc)
}

/// Every process that can be seen.
pub fn all() -> impl Iterator<Item = Running> {
    pids().filter_map(Running::find)
}

/// Their numbers alone.
pub fn pids() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The inode of our own pid namespace.
#[must_use]
pub fn own_namespace() -> Option<u64> {
    std::fs::metadata("/proc/self/ns/pid")
        .ok()
        .map(|meta| meta.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_itself() {
        let own = Running::find(std::process::id() as i32).unwrap();
        assert!(own.still_runs() && own.start_ticks > 0);
        assert!(own.has_name(&own.program().unwrap()));
        assert!(all().any(|process| process == own));
    }

    #[test]
    fn a_program_started_through_a_link_has_both_names() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("linked");
        std::os::unix::fs::symlink("/bin/sleep", &link).unwrap();
        let mut child = std::process::Command::new(&link).arg("60").spawn().unwrap();
        let pid = child.id() as i32;
        let named = |name: &str| Running::find(pid).is_some_and(|running| running.has_name(name));
        while !named("linked") {
            std::thread::yield_now();
        }
        assert!(named("sleep") && !named("slee"));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_zombie_is_not_running() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        while Running::find(pid).is_some() {
            std::thread::yield_now();
        }
        assert!(std::path::Path::new(&format!("/proc/{pid}/stat")).exists());
        child.wait().unwrap();
    }
}
