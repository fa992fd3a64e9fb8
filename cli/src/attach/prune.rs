//! Drops the records of pid namespaces that are gone, all but the newest.
//!
//! The library clears away what dead neighbours of its own namespace left, so
//! nobody does it where the whole namespace has ended, as containers do.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use super::process::own_namespace;
use super::records::Record;

/// The first namespace's inode (PROC_PID_INIT_INO): from there every process
/// is to be seen, from any other only some.
const FIRST: u64 = 0xEFFF_FFFC;
/// Records that stay, each user: what the library lets stay, too.
pub const KEPT: usize = 16;

/// Removes them from the list and from the folder.
pub fn dead_namespaces(records: &mut Vec<Record>) {
    if own_namespace() != Some(FIRST) || !many_elsewhere(records) {
        return;
    }
    if let Some(alive) = namespaces() {
        drop_all_but_newest(records, |namespace| alive.contains(&namespace));
    }
}

fn many_elsewhere(records: &[Record]) -> bool {
    let elsewhere = |record: &&Record| record.name.namespace != FIRST;
    records.iter().filter(elsewhere).count() > KEPT
}

/// Those that have a process; none when one is hidden from us.
fn namespaces() -> Option<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    let pids = std::fs::read_dir("/proc").ok()?.flatten();
    for entry in pids.filter(|entry| is_number(&entry.file_name())) {
        match std::fs::metadata(entry.path().join("ns/pid")) {
            Ok(meta) => drop(found.insert(meta.ino())),
            Err(_) if may_be_elsewhere(&entry.path()) => return None,
            Err(_) => {}
        }
    }
    let all_are_seen = std::path::Path::new("/proc/1/status").exists();
    all_are_seen.then_some(found)
}

fn is_number(name: &std::ffi::OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Another user's process has one pid here, and none further in.
fn may_be_elsewhere(process: &std::path::Path) -> bool {
    let Ok(status) = std::fs::read_to_string(process.join("status")) else {
        return false;
    };
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    pids.is_some_and(|pids| pids.split_whitespace().count() > 1)
}

fn drop_all_but_newest(records: &mut Vec<Record>, alive: impl Fn(u64) -> bool) {
    let dead = |record: &Record| record.name.namespace != FIRST && !alive(record.name.namespace);
    let age = |record: &Record| {
        let meta = record.path.symlink_metadata().ok();
        meta.map(|meta| (meta.mtime(), meta.mtime_nsec()))
    };
    let users: BTreeSet<u32> = records.iter().map(|record| record.folder_uid).collect();
    for user in users {
        let own = records.iter().filter(|record| record.folder_uid == user);
        let mut old: Vec<Record> = own.filter(|record| dead(record)).cloned().collect();
        old.sort_by_key(|record| std::cmp::Reverse(age(record)));
        for record in old.iter().skip(KEPT) {
            record.remove();
            records.retain(|kept| kept != record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::SegmentName;

    fn record(folder: &std::path::Path, namespace: u64, pid: i32) -> Record {
        let path = folder.join(format!("{namespace}.{pid}.5.0"));
        let file = std::fs::File::create(&path).unwrap();
        let made = std::time::UNIX_EPOCH + std::time::Duration::from_secs(pid as u64);
        file.set_modified(made).unwrap();
        Record {
            name: SegmentName::of_path(&path).unwrap(),
            path,
            folder_uid: 7,
        }
    }

    #[test]
    fn the_newest_of_the_dead_and_all_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut all: Vec<Record> = (1..=20).map(|pid| record(folder.path(), 1, pid)).collect();
        all.extend((1..=20).map(|pid| record(folder.path(), 2, pid)));
        all.extend((1..=20).map(|pid| record(folder.path(), FIRST, pid)));
        drop_all_but_newest(&mut all, |namespace| namespace == 2);
        let count = |namespace| {
            let of = |record: &&Record| record.name.namespace == namespace;
            let there = |record: &&Record| record.path.exists();
            all.iter().filter(of).filter(there).count()
        };
        assert_eq!((count(1), count(2), count(FIRST)), (16, 20, 20));
        assert!(!folder.path().join("1.4.5.0").exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 56);
    }

    #[test]
    fn our_own_namespace_has_a_process() {
        let own = own_namespace().unwrap();
        assert!(namespaces().is_none_or(|all| all.contains(&own)));
    }
}
