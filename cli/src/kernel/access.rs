//! What this user may read of a process, found by trying.

use super::{ProcDir, text, threads};
use rustix::fs::{AtFlags, OFlags, statat};

/// The two rights that matter, and the flag that takes them away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// PTRACE_MODE_READ: descriptors, links, maps.
    pub read: bool,
    /// PTRACE_MODE_ATTACH: its memory, and copies of its descriptors
    /// (process_vm_readv, pidfd_getfd). Yama takes this one away.
    pub attach: bool,
    /// Whether the process is dumpable: a changed uid, a file capability or
    /// prctl(PR_SET_DUMPABLE) makes it not so, and then only root may read it.
    /// `None` for root's own processes, where the kernel does not show it.
    pub dumpable: Option<bool>,
}

impl Access {
    /// Tries the rights by opening files that need them; nothing is read.
    pub fn probe(dir: &ProcDir) -> Self {
        let base = threads::living_folder(dir);
        let opens = |file| {
            let path = format!("{base}{file}");
            dir.open_file(&path, OFlags::RDONLY).is_ok()
        };
        Self {
            read: dir.link("exe").is_ok() || opens("environ"),
            attach: opens("mem"),
            dumpable: dumpable(dir),
        }
    }
}

/// The files below `/proc/PID` belong to the effective user, unless the
/// process is not dumpable: then to root (proc(5)).
fn dumpable(dir: &ProcDir) -> Option<bool> {
    let status = dir.read("status").ok()?;
    let euid = text::field(&status, "Uid:")?
        .split_whitespace()
        .nth(1)?
        .parse::<u32>()
        .ok()?;
    let owner = statat(dir.fd(), "stat", AtFlags::empty()).ok()?.st_uid;
    (euid != 0).then_some(owner == euid)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Running, is_root};
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    fn a_process_that_hides_itself_is_not_dumpable() {
        if !is_root() {
            return;
        }
        let plain = Running::start(Command::new("sleep").arg("60").uid(65534));
        assert_eq!(Access::probe(&plain.dir()).dumpable, Some(true));
        let (hidden, _) = Running::python(
            "import ctypes, os, time; os.setuid(65534); \
             ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); print('ready', flush=True); time.sleep(60)",
        );
        let access = Access::probe(&hidden.dir());
        assert_eq!(access.dumpable, Some(false));
        assert!(access.read && access.attach, "root may all the same");
    }
}
