//! Names of code that a program generated at run time, as perf(1) reads them:
//! `/tmp/perf-PID.map`, lines of `start size name` in hexadecimal.

use super::open::Root;
use crate::kernel::Process;
use crate::kernel::proc_dir::read_up_to;
use crate::kernel::text;
use rustix::fd::AsFd;
use std::path::Path;

/// Larger maps are cut off.
const MAP_CAP_BYTES: usize = 256 << 20;

/// How many entries that begin before an address are looked at for one that
/// reaches it: newer code may lie inside the range of older.
const STEPS_BACK: usize = 64;

/// The generated code of one process.
#[derive(Debug, Default)]
pub struct PerfMap {
    /// In order of their start; of the same start the older first.
    entries: Vec<Entry>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    start: u64,
    end: u64,
    line: usize,
    name: String,
}

impl PerfMap {
    /// The map of a process, from its own root and by its own pid there. In
    /// /tmp anybody may have put it: it counts only if the process's user or
    /// root owns it.
    pub fn load(root: &Root, process: &Process) -> Option<Self> {
        let path = format!("/tmp/perf-{}.map", process.own_pid());
        let file = root.open(Path::new(&path)).ok()?;
        if file.owner() != process.euid && file.owner() != 0 {
            return None;
        }
        let bytes = read_up_to(file.file().ok()?.as_fd(), MAP_CAP_BYTES).ok()?;
        Some(Self::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Self {
        let lines = text::lines(bytes).enumerate();
        let mut entries: Vec<Entry> = lines
            .filter_map(|(line, bytes)| Entry::parse(line, bytes))
            .collect();
        entries.sort_by_key(|entry| (entry.start, entry.line));
        Self { entries }
    }

    /// The name of the code at an address: the latest line that covers it.
    pub fn name(&self, address: u64) -> Option<&str> {
        let behind = self.entries.partition_point(|entry| entry.start <= address);
        let near = self.entries[behind.saturating_sub(STEPS_BACK)..behind].iter();
        let covering = near.filter(|entry| address < entry.end);
        covering
            .max_by_key(|entry| entry.line)
            .map(|entry| entry.name.as_str())
    }
}

impl Entry {
    fn parse(line: usize, bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.splitn(3, |&byte| byte == b' ');
        let mut number = || {
            text::hex(
                std::str::from_utf8(parts.next()?)
                    .ok()?
                    .trim_start_matches("0x"),
            )
        };
        let (start, size) = (number()?, number()?);
        let name = text::lossy(parts.next()?.trim_ascii());
        let end = start.checked_add(size)?;
        Some(Self {
            start,
            end,
            line,
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::Running;
    use proptest::prelude::*;

    #[test]
    fn the_latest_line_that_covers_an_address_counts() {
        let map = PerfMap::parse(b"1000 100 old\n1080 10 inner one\n2000 20 LazyCompile:*f a.js:1\n1000 40 new\nrubbish\n");
        assert_eq!(map.name(0x1010), Some("new"));
        assert_eq!(map.name(0x1050), Some("old"));
        assert_eq!(map.name(0x1085), Some("inner one"));
        assert_eq!(map.name(0x201f), Some("LazyCompile:*f a.js:1"));
        assert_eq!(map.name(0x2020), None);
        assert_eq!(map.name(0xfff), None);
    }

    #[test]
    fn a_map_of_somebody_else_is_not_read() {
        if !crate::kernel::testing::is_root() {
            return;
        }
        let (child, _) = Running::python("import time; print(flush=True); time.sleep(60)");
        let path = format!("/tmp/perf-{}.map", child.pid());
        std::fs::write(&path, "1000 10 f\n").expect("writable");
        let root = Root::of(&child.dir()).expect("our child");
        let loaded = || PerfMap::load(&root, &child.process());
        let own = loaded().is_some_and(|map| map.name(0x1000) == Some("f"));
        std::os::unix::fs::chown(&path, Some(65534), None).expect("root may");
        let foreign = loaded().is_some();
        std::fs::remove_file(&path).expect("it is there");
        assert!(own && !foreign);
    }

    proptest! {
        #[test]
        fn any_map_is_survived(text in "([0-9a-f]{0,17} ?|\\n|é)*", address: u64) {
            let _ = PerfMap::parse(text.as_bytes()).name(address);
        }
    }
}
