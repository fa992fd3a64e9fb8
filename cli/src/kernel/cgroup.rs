//! The memory limit and charge of a process's control group, version 2 or 1:
//! cgroups(7).

use super::proc_dir::read_at;
use super::{ProcDir, text};
use procfs::FromRead;
use procfs::process::{MountInfo, MountInfos};
use rustix::fs::CWD;
use std::path::{Path, PathBuf};

/// Version 1 writes "no limit" as the largest multiple of a page.
const NO_LIMIT_V1: u64 = i64::MAX as u64 / 65536 * 65536;

/// Cgroup files are short; memory.stat is the longest.
const FILE_CAP_BYTES: usize = 64 << 10;

/// What a control group may use and what it is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupMemory {
    /// The lowest limit of the group and its ancestors in bytes; `None` when
    /// there is none.
    pub limit_bytes: Option<u64>,
    /// What the group is charged now, page cache and tmpfs included.
    pub charged_bytes: u64,
    /// What is left until the first limit of the group or an ancestor is hit.
    pub headroom_bytes: Option<u64>,
}

/// The memory group of a process; `None` where cgroups are not mounted here,
/// or the group is in a part of the tree that is not visible from here.
pub fn memory(dir: &ProcDir) -> Option<CgroupMemory> {
    let groups = dir.read("cgroup").ok()?;
    let mounts = own_mounts()?;
    version2(&groups, &mounts).or_else(|| version1(&groups, &mounts))
}

/// Whether the group of a process, or one above it, may use no swap. Only
/// version 2 says so.
pub fn forbids_swap(dir: &ProcDir) -> bool {
    let group = || {
        let mounts = own_mounts()?;
        let mount = mounts.0.iter().find(|mount| mount.fs_type == "cgroup2")?;
        Group::of(group_path(&dir.read("cgroup").ok()?, "")?, mount)
    };
    group().is_some_and(|group| {
        group
            .up()
            .any(|folder| number(folder, "memory.swap.max") == Some(0))
    })
}

fn own_mounts() -> Option<MountInfos> {
    let bytes = read_at(CWD, "/proc/self/mountinfo", super::proc_dir::READ_CAP_BYTES).ok()?;
    MountInfos::from_read(text::lossy(&bytes).as_bytes()).ok()
}

fn version2(groups: &[u8], mounts: &MountInfos) -> Option<CgroupMemory> {
    let mount = mounts.0.iter().find(|mount| mount.fs_type == "cgroup2")?;
    let group = Group::of(group_path(groups, "")?, mount)?;
    group.summed_up("memory.max", "memory.current")
}

fn version1(groups: &[u8], mounts: &MountInfos) -> Option<CgroupMemory> {
    let has_memory = |mount: &&MountInfo| {
        mount.fs_type == "cgroup" && mount.super_options.contains_key("memory")
    };
    let mount = mounts.0.iter().find(has_memory)?;
    let group = Group::of(group_path(groups, "memory")?, mount)?;
    group.summed_up("memory.limit_in_bytes", "memory.usage_in_bytes")
}

/// The path behind `N:controllers:`; version 2 has no controllers there.
fn group_path<'a>(groups: &'a [u8], controller: &str) -> Option<&'a str> {
    text::lines(groups).find_map(|line| {
        let mut parts = std::str::from_utf8(line).ok()?.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let found = controllers.split(',').any(|name| name == controller);
        parts.next().filter(|_| found)
    })
}

/// One group's folder, inside the mount it was found by.
struct Group {
    mount: PathBuf,
    folder: PathBuf,
}

impl Group {
    /// In a container the mount may show only a part of the tree.
    fn of(path: &str, mount: &MountInfo) -> Option<Self> {
        let below = match mount.root.as_str() {
            "/" => path,
            root => path.strip_prefix(root)?,
        };
        let relative = Path::new(below.trim_start_matches('/'));
        if relative.components().any(|part| part.as_os_str() == "..") {
            return None;
        }
        Some(Self {
            mount: mount.mount_point.clone(),
            folder: mount.mount_point.join(relative),
        })
    }

    /// Its folder and those above it.
    fn up(&self) -> impl Iterator<Item = &Path> {
        self.folder
            .ancestors()
            .take_while(|folder| folder.starts_with(&self.mount))
    }

    fn summed_up(&self, limit_file: &str, charge_file: &str) -> Option<CgroupMemory> {
        let up = || self.up();
        let limit = |folder: &Path| number(folder, limit_file).filter(|&limit| limit < NO_LIMIT_V1);
        let left =
            |folder: &Path| Some(limit(folder)?.saturating_sub(number(folder, charge_file)?));
        Some(CgroupMemory {
            limit_bytes: up().filter_map(limit).min(),
            charged_bytes: up().find_map(|folder| number(folder, charge_file))?,
            headroom_bytes: up().filter_map(left).min(),
        })
    }
}

/// `None` for "max" and where the file is missing, as in the root group.
fn number(folder: &Path, file: &str) -> Option<u64> {
    let bytes = read_at(CWD, folder.join(file).to_str()?, FILE_CAP_BYTES).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mount(folder: &Path, root: &str, kind: &str, options: &str) -> MountInfos {
        let line = format!(
            "41 31 0:38 {root} {} rw - {kind} {kind} {options}\n",
            folder.display()
        );
        MountInfos::from_read(line.as_bytes()).expect("a mount line")
    }

    fn fill(folder: &Path, group: &str, files: &[(&str, &str)]) {
        std::fs::create_dir_all(folder.join(group)).expect("writable");
        for (name, value) in files {
            std::fs::write(folder.join(group).join(name), value).expect("writable");
        }
    }

    #[test]
    fn version_2_takes_the_lowest_limit_on_the_way_up() {
        let folder = tempfile::tempdir().expect("a folder");
        fill(
            folder.path(),
            "a",
            &[("memory.max", "1000\n"), ("memory.current", "900\n")],
        );
        fill(
            folder.path(),
            "a/b",
            &[("memory.max", "5000\n"), ("memory.current", "300\n")],
        );
        fill(
            folder.path(),
            "a/b/c",
            &[("memory.max", "max\n"), ("memory.current", "200\n")],
        );
        let mounts = mount(folder.path(), "/", "cgroup2", "rw");
        let found = version2(b"0::/a/b/c\n", &mounts).expect("all files are there");
        let expected = CgroupMemory {
            limit_bytes: Some(1000),
            charged_bytes: 200,
            headroom_bytes: Some(100),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn version_1_below_a_partial_mount_and_without_a_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let none = "9223372036854771712\n";
        let files = [
            ("memory.limit_in_bytes", none),
            ("memory.usage_in_bytes", "77\n"),
        ];
        fill(folder.path(), "inner", &files);
        let mounts = mount(folder.path(), "/docker/x", "cgroup", "rw,memory");
        let groups = b"9:name=systemd:/\n4:cpu,memory:/docker/x/inner\n";
        let found = version1(groups, &mounts).expect("all files are there");
        assert_eq!((found.limit_bytes, found.charged_bytes), (None, 77));
        assert_eq!(found.headroom_bytes, None);
    }

    #[test]
    fn a_group_without_swap_has_none_below() {
        let folder = tempfile::tempdir().expect("a folder");
        fill(folder.path(), "a", &[("memory.swap.max", "0\n")]);
        fill(folder.path(), "a/b", &[("memory.swap.max", "max\n")]);
        let mounts = mount(folder.path(), "/", "cgroup2", "rw");
        let group = Group::of("/a/b", &mounts.0[0]).expect("a group");
        let limits: Vec<_> = group
            .up()
            .map(|folder| number(folder, "memory.swap.max"))
            .collect();
        assert_eq!(limits, [None, Some(0), None]);
    }

    #[test]
    fn a_group_outside_of_what_is_mounted_is_not_guessed_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let mounts = mount(folder.path(), "/", "cgroup2", "rw");
        assert_eq!(version2(b"0::/../../other\n", &mounts), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(groups in "[0-9:,/a-z.\\n]{0,80}") {
            let _ = group_path(groups.as_bytes(), "memory");
        }
    }
}
