//! A small memory control group.
//!
//! Guard: the whole record takes at most a share of the group's limit. Without
//! it the program is killed for the memory of its watcher. (That an extent also
//! takes at most a share of what is left has no test of its own: here the first
//! is enough.)

use std::fs;
use std::path::{Path, PathBuf};

use memguard_tests::{Mode, Program, skip};

/// A control group with a memory limit; removed in the end.
struct Group {
    path: PathBuf,
}

impl Group {
    /// Version 1 or 2, where this machine lets us.
    fn new(name: &str, limit: &str) -> Option<Self> {
        let name = format!("mgtest-{}-{name}", std::process::id());
        let v1 = (Path::new("/sys/fs/cgroup/memory"), "memory.limit_in_bytes");
        let v2 = (Path::new("/sys/fs/cgroup"), "memory.max");
        [v1, v2].into_iter().find_map(|(root, file)| {
            let path = root.join(&name);
            fs::create_dir(&path).ok()?;
            let group = Self { path };
            fs::write(group.path.join(file), limit).ok()?;
            Some(group)
        })
    }

    fn procs(&self) -> String {
        self.path
            .join("cgroup.procs")
            .to_string_lossy()
            .into_owned()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

#[test]
fn the_group_is_small() {
    for mode in Mode::RECORDING {
        // 300 000 blocks of 64 bytes take 24 MB with their headers.
        let Some(group) = Group::new(&format!("{mode:?}"), "33554432") else {
            return skip::note("cgroup", "no memory control group can be made here");
        };
        let program = Program::fixture("hungry").arg("20").arg("64").arg("many");
        let program = program.inside(&["cgroup", &group.procs()]);
        let bare = program.bare().ok();
        let watched = program.mode(mode).watched();
        assert_eq!(
            watched.signal(),
            None,
            "{mode:?}: killed for its watcher's memory"
        );
        assert_eq!(watched.plain().stdout, bare.plain().stdout, "{mode:?}");
    }
}
