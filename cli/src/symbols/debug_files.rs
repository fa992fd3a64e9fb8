//! Debug information kept apart from its program: by build id below
//! `/usr/lib/debug/.build-id`, or by the name in `.gnu_debuglink`.
//! <https://sourceware.org/gdb/current/onlinedocs/gdb.html/Separate-Debug-Files.html>

use super::elf::{DebugLink, ElfFacts, hex};
use super::open::{RegularFile, Root};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const DEBUG_FOLDER: &str = "/usr/lib/debug";

/// Looks in each root for debug information that belongs to the module at
/// `path`; the first that fits is taken.
pub fn find(roots: &[&Root], path: &Path, facts: &ElfFacts) -> Option<RegularFile> {
    let by_id = facts.build_id.as_deref().and_then(build_id_path);
    let by_name = facts
        .debug_link
        .as_ref()
        .map(|link| link_paths(path, link))
        .unwrap_or_default();
    let candidates: Vec<PathBuf> = by_id.into_iter().chain(by_name).collect();
    roots
        .iter()
        .flat_map(|root| candidates.iter().filter_map(|path| root.open(path).ok()))
        .find(|file| belongs(file, facts))
}

/// `/usr/lib/debug/.build-id/ab/cdef.debug`; shorter ids are bogus.
fn build_id_path(build_id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = build_id.split_first().filter(|(_, rest)| rest.len() >= 7)?;
    let name = format!("{DEBUG_FOLDER}/.build-id/{first:02x}/{}.debug", hex(rest));
    Some(name.into())
}

/// Beside the module, in `.debug` beside it, and in its folder's twin below
/// the debug folder.
fn link_paths(module: &Path, link: &DebugLink) -> Vec<PathBuf> {
    let name = OsStr::from_bytes(&link.name);
    let folder = module.parent().unwrap_or(Path::new("/"));
    let twin = Path::new(DEBUG_FOLDER).join(folder.strip_prefix("/").unwrap_or(folder));
    let paths = [
        folder.join(name),
        folder.join(".debug").join(name),
        twin.join(name),
    ];
    paths.into_iter().filter(|path| path != module).collect()
}

/// The same build id; for a module without one, the link's checksum.
fn belongs(file: &RegularFile, module: &ElfFacts) -> bool {
    let Some(found) = file.file().ok().and_then(|file| ElfFacts::read(file).ok()) else {
        return false;
    };
    match (&module.build_id, &module.debug_link) {
        (Some(build_id), _) => found.build_id.as_ref() == Some(build_id),
        (None, Some(link)) => file.file().ok().and_then(crc32) == Some(link.crc),
        (None, None) => false,
    }
}

/// The CRC-32 of gzip and `.gnu_debuglink`, over a whole file.
fn crc32(mut file: std::fs::File) -> Option<u32> {
    let table = table();
    let mut chunk = vec![0; 256 << 10];
    let mut crc = !0u32;
    loop {
        match file.read(&mut chunk).ok()? {
            0 => return Some(!crc),
            got => {
                for &byte in &chunk[..got] {
                    crc = table[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
                }
            }
        }
    }
}

fn table() -> [u32; 256] {
    let step = |crc: u32, _| {
        if crc & 1 == 1 {
            0xedb8_8320 ^ (crc >> 1)
        } else {
            crc >> 1
        }
    };
    std::array::from_fn(|byte| (0..8).fold(byte as u32, step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};

    #[test]
    fn the_checksum_is_the_well_known_one() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"123456789").expect("writable");
        file.seek(SeekFrom::Start(0)).expect("seekable");
        assert_eq!(crc32(file), Some(0xcbf4_3926));
    }

    #[test]
    fn paths_are_those_that_gdb_looks_at() {
        let id = [0xab, 0xcd, 1, 2, 3, 4, 5, 6];
        let path = build_id_path(&id).expect("long enough");
        assert_eq!(
            path,
            Path::new("/usr/lib/debug/.build-id/ab/cd010203040506.debug")
        );
        assert_eq!(build_id_path(&[1, 2]), None);
        let link = DebugLink {
            name: b"x.debug".to_vec(),
            crc: 0,
        };
        let paths = link_paths(Path::new("/opt/app/x"), &link);
        let expected = [
            "/opt/app/x.debug",
            "/opt/app/.debug/x.debug",
            "/usr/lib/debug/opt/app/x.debug",
        ];
        assert!(paths.iter().eq(expected.iter().map(Path::new)));
    }
}
