//! `--raise-limit`: the soft limit on descriptors, up to the hard one, where
//! descriptors are nearly used up. A program that calls select(2) must not get
//! numbers of 1024 and more: its sets have no bits for them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use object::read::elf::{ElfFile64, Sym};
use object::{Endianness, ReadCache};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::kernel::{ProcDir, maps};
use crate::model::{FixGate, FixLimit};
use crate::symbols::open::Root;

/// What a program that uses select imports. `__fdelt_chk` is FD_SET's check.
const SELECT: [&[u8]; 4] = [b"select", b"pselect", b"__fdelt_chk", b"__fdelt_warn"];
/// Libraries that define or wrap it, for whoever calls it.
const OWN: [&str; 6] = [
    "libc.so",
    "libc-",
    "ld-",
    "libpthread",
    "libmemguard",
    "libasan",
];

/// The plan for a process; none when its limits cannot be read.
#[must_use]
pub fn plan(pid: i32) -> Option<FixLimit> {
    let dir = ProcDir::open(pid).ok()?;
    let (soft, hard) = limits(pid)?;
    Some(FixLimit {
        from: soft,
        to: hard,
        gates: vec![room(soft, hard), no_select(&dir)],
        raised: None,
        detail: None,
    })
}

fn limits(pid: i32) -> Option<(u64, u64)> {
    let dir = ProcDir::open(pid).ok()?;
    let text = String::from_utf8(dir.read("limits").ok()?).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let mut words = line.split_whitespace().map(|word| match word {
        "unlimited" => Some(u64::MAX),
        word => word.parse().ok(),
    });
    Some((words.next()??, words.next()??))
}

fn room(soft: u64, hard: u64) -> FixGate {
    let fact = match soft < hard {
        true => format!("{soft} may become {hard}"),
        false => format!("it is {soft}, and may not be more (the hard limit)"),
    };
    gate("room", soft < hard, fact)
}

fn gate(name: &str, open: bool, fact: String) -> FixGate {
    FixGate {
        name: name.to_owned(),
        open,
        fact,
    }
}

fn no_select(dir: &ProcDir) -> FixGate {
    let (Ok(root), Ok(mappings)) = (Root::of(dir), maps::read(dir)) else {
        let unknown = "its code may not be read; run memguard as root";
        return gate("select", false, unknown.to_owned());
    };
    let code = mappings
        .iter()
        .filter(|map| map.executable && map.inode != 0);
    let files: BTreeSet<PathBuf> = code.map(|map| PathBuf::from(&map.path)).collect();
    for path in files.iter().filter(|path| !is_own(path)) {
        match imports_select(&root, path) {
            Some(false) => {}
            Some(true) => {
                let said = format!("{} uses select, which cannot go past 1024", name(path));
                return gate("select", false, said);
            }
            None => {
                let said = format!("whether {} uses select cannot be seen", name(path));
                return gate("select", false, said);
            }
        }
    }
    gate(
        "select",
        true,
        "neither it nor its libraries use select".to_owned(),
    )
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn is_own(path: &Path) -> bool {
    let name = name(path);
    OWN.iter().any(|own| name.starts_with(own))
}

/// None when it cannot be told: no dynamic symbols, no file.
fn imports_select(root: &Root, path: &Path) -> Option<bool> {
    let bytes = ReadCache::new(root.open(path).ok()?.file().ok()?);
    let file = ElfFile64::<Endianness, _>::parse(&bytes).ok()?;
    let symbols = file.elf_dynamic_symbol_table();
    let endian = file.endian();
    if symbols.is_empty() {
        return None;
    }
    Some(symbols.iter().any(|symbol| {
        let name = symbols.symbol_name(endian, symbol).unwrap_or_default();
        symbol.is_undefined(endian) && SELECT.contains(&name)
    }))
}

/// Raises it. The limit that is found then is the one that is replaced.
pub fn raise(pid: i32, limit: &mut FixLimit) {
    let wanted = Rlimit {
        current: Some(limit.to).filter(|to| *to != u64::MAX),
        maximum: Some(limit.to).filter(|to| *to != u64::MAX),
    };
    let set = Pid::from_raw(pid).map(|pid| prlimit(Some(pid), Resource::Nofile, wanted));
    limit.raised = Some(matches!(set, Some(Ok(_))) && limits(pid) == Some((limit.to, limit.to)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    fn sleeping(program: &str, args: &[&str]) -> Child {
        let mut command = Command::new(program);
        let child = command.args(args).stdin(Stdio::piped()).spawn().unwrap();
        let lower = Rlimit {
            current: Some(64),
            maximum: Some(256),
        };
        prlimit(Pid::from_raw(child.id() as i32), Resource::Nofile, lower).unwrap();
        // It has its own code once it is past exec.
        std::thread::sleep(std::time::Duration::from_millis(300));
        child
    }

    #[test]
    fn a_program_without_select_gets_all_that_it_may_have() {
        let mut child = sleeping("sleep", &["60"]);
        let pid = child.id() as i32;
        let mut limit = plan(pid).unwrap();
        assert!(limit.passes(), "{limit:?}");
        assert_eq!((limit.from, limit.to), (64, 256));
        raise(pid, &mut limit);
        assert_eq!(limit.raised, Some(true));
        assert_eq!(limits(pid), Some((256, 256)));
        assert!(!plan(pid).unwrap().passes(), "no room is left");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_program_that_imports_select_is_refused() {
        let mut child = sleeping("/usr/bin/python3", &["-c", "import sys; sys.stdin.read()"]);
        let limit = plan(child.id() as i32).unwrap();
        let shut = limit.gates.iter().find(|gate| !gate.open).unwrap();
        assert!(
            shut.name == "select" && shut.fact.contains("uses select"),
            "{limit:?}"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
