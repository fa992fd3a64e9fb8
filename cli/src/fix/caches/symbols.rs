//! Which libraries are in a process, told by the functions that their files
//! define. Names of files would not do: Python is in its executable as often
//! as in a library.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use object::read::elf::{ElfFile64, Sym};
use object::{Endianness, ReadCache};

use crate::kernel::{ProcDir, maps};
use crate::symbols::open::Root;

/// What was found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// sqlite
    pub sqlite: bool,
    /// CPython
    pub python: bool,
    /// Another runtime with a heap of its own
    pub runtime: Option<&'static str>,
}

/// A function that tells each.
const SQLITE: &[u8] = b"sqlite3_release_memory";
const PYTHON: &[u8] = b"Py_AddPendingCall";
const RUNTIMES: [(&[u8], &str); 2] = [
    (b"node_module_register", "V8"),
    (b"JNI_CreateJavaVM", "the JVM"),
];

/// Looks through the files that the process has code of; those that cannot be
/// read have nothing.
pub fn found(dir: &ProcDir) -> Found {
    let (Ok(root), Ok(mappings)) = (Root::of(dir), maps::read(dir)) else {
        return Found::default();
    };
    let code = mappings
        .iter()
        .filter(|map| map.executable && map.inode != 0);
    let files: BTreeSet<PathBuf> = code.map(|map| PathBuf::from(&map.path)).collect();
    let each = files.iter().filter_map(|path| defines(&root, path));
    each.fold(Found::default(), |all, one| Found {
        sqlite: all.sqlite || one.sqlite,
        python: all.python || one.python,
        runtime: all.runtime.or(one.runtime),
    })
}

fn defines(root: &Root, path: &Path) -> Option<Found> {
    let bytes = ReadCache::new(root.open(path).ok()?.file().ok()?);
    let file = ElfFile64::<Endianness, _>::parse(&bytes).ok()?;
    let (symbols, endian) = (file.elf_dynamic_symbol_table(), file.endian());
    let mut found = Found::default();
    for symbol in symbols.iter().filter(|symbol| !symbol.is_undefined(endian)) {
        let name = symbols.symbol_name(endian, symbol).unwrap_or_default();
        found.sqlite |= name == SQLITE;
        found.python |= name == PYTHON;
        let runtime = RUNTIMES.iter().find(|(tells, _)| name == *tells);
        found.runtime = found.runtime.or(runtime.map(|(_, what)| *what));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_is_known_by_its_functions() {
        let mut child = std::process::Command::new("/usr/bin/python3")
            .args([
                "-c",
                "import sqlite3, sys; print(flush=True); sys.stdin.read()",
            ])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let known = found(&ProcDir::open(child.id() as i32).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            known.python && known.sqlite && known.runtime.is_none(),
            "{known:?}"
        );
        let here = found(&ProcDir::open(std::process::id() as i32).unwrap());
        assert_eq!(here, Found::default());
    }
}
