//! Where a process has its segment mapped, by `/proc/PID/maps`.

use std::ops::Range;
use std::path::PathBuf;

use super::name::SegmentName;

/// One mapping of a segment, or of what may be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Addresses in the process
    pub range: Range<u64>,
    /// Offset in the file
    pub offset: u64,
    /// Device, as stat(2) packs it
    pub device: u64,
    /// Inode
    pub inode: u64,
    /// The path as maps shows it, none when it has no name (any more)
    pub path: Option<PathBuf>,
}

/// All mappings of one file, in the order of their offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedFile {
    /// The mappings
    pub parts: Vec<Mapping>,
}

impl MappedFile {
    /// Device and inode: the identity of the file.
    #[must_use]
    pub fn identity(&self) -> (u64, u64) {
        (self.parts[0].device, self.parts[0].inode)
    }

    /// The path, if it still has one.
    #[must_use]
    pub fn path(&self) -> Option<&PathBuf> {
        self.parts[0].path.as_ref()
    }
}

/// Whether memguard's library is mapped.
#[must_use]
pub fn has_library(maps: &[u8]) -> bool {
    let file = |line: &[u8]| {
        line.ends_with(b"/libmemguard.so") || line.ends_with(b"/libmemguard.so (deleted)")
    };
    maps.split(|byte| *byte == b'\n').any(file)
}

/// The files in a process's maps that may be segments, likeliest first: by
/// their name, else shared memory without a name.
#[must_use]
pub fn candidates(maps: &[u8]) -> Vec<MappedFile> {
    let mut files: Vec<MappedFile> = Vec::new();
    for part in maps.split(|byte| *byte == b'\n').filter_map(parse) {
        let same = |file: &&mut MappedFile| file.identity() == (part.device, part.inode);
        match files.iter_mut().find(same) {
            Some(file) => file.parts.push(part),
            None => files.push(MappedFile { parts: vec![part] }),
        }
    }
    for file in &mut files {
        file.parts.sort_by_key(|part| part.offset);
    }
    files.retain(|file| file.parts[0].offset == 0);
    files.sort_by_key(|file| file.path().is_none());
    files
}

/// One line, if it is shared memory with a segment's name or with none.
fn parse(line: &[u8]) -> Option<Mapping> {
    let mut words = line.splitn(6, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(words.next()?).ok();
    let (start, end) = word()?.split_once('-')?;
    let shared = word()?.ends_with('s');
    let offset = hex(word()?)?;
    let (major, minor) = word()?.split_once(':')?;
    let inode = word()?.parse().ok()?;
    let name = String::from_utf8_lossy(words.next()?);
    let name = name.trim_start();
    let device = rustix::fs::makedev(
        u32::try_from(hex(major)?).ok()?,
        u32::try_from(hex(minor)?).ok()?,
    );
    (shared && may_be_segment(name)).then_some(Mapping {
        range: hex(start)?..hex(end)?,
        offset,
        device,
        inode,
        path: (!name.ends_with(" (deleted)") && name.starts_with('/')).then(|| PathBuf::from(name)),
    })
}

/// By its file's name, or as anonymous shared memory.
fn may_be_segment(name: &str) -> bool {
    let path = name.strip_suffix(" (deleted)").unwrap_or(name);
    let file = path.rsplit('/').next().unwrap_or_default();
    path == "/dev/zero"
        || name.starts_with("[anon_shmem:memguard")
        || SegmentName::parse(file).is_some()
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &[u8] = b"55d0c0000000-55d0c0001000 r-xp 00000000 fe:00 123                        /usr/bin/app\n\
        7f0000100000-7f0000200000 rw-s 00100000 00:1a 77                         /dev/shm/memguard/0/4026531836.12.345.1\n\
        7f0000000000-7f0000100000 rw-s 00000000 00:1a 77                         /dev/shm/memguard/0/4026531836.12.345.1\n\
        7f0000300000-7f0000301000 rw-s 00000000 00:01 9                          /dev/zero (deleted)\n\
        7f0000400000-7f0000401000 rw-p 00000000 00:00 0 \n\
        7ffc00000000-7ffc00001000 rw-p 00000000 00:00 0                          [stack]\n";

    #[test]
    fn finds_named_before_nameless_and_joins_parts() {
        let found = candidates(MAPS);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0].path().unwrap().to_str(),
            Some("/dev/shm/memguard/0/4026531836.12.345.1")
        );
        assert_eq!(
            found[0]
                .parts
                .iter()
                .map(|part| part.offset)
                .collect::<Vec<_>>(),
            [0, 0x10_0000]
        );
        assert_eq!(found[0].identity(), (rustix::fs::makedev(0, 0x1a), 77));
        assert_eq!(found[1].path(), None);
    }

    #[test]
    fn the_library_is_known_by_its_name() {
        let with = |line: &[u8]| has_library(&[MAPS, line].concat());
        assert!(!has_library(MAPS));
        assert!(with(
            b"7f00-7f01 r-xp 0 fe:00 5   /usr/lib/memguard/libmemguard.so\n"
        ));
        assert!(with(
            b"7f00-7f01 r-xp 0 fe:00 5   /a/libmemguard.so (deleted)\n"
        ));
        assert!(!with(b"7f00-7f01 r-xp 0 fe:00 5   /a/notlibmemguard.so\n"));
    }

    #[test]
    fn nonsense_is_nothing() {
        for text in [
            &b""[..],
            b"\n\n",
            b"zz-zz rw-s 0 0:0 0 /dev/zero",
            b"1-2 rw-s",
            b"\xff\xfe rw-s 0 0:0 1 /dev/zero",
        ] {
            assert_eq!(candidates(text), []);
        }
    }

    #[test]
    fn a_deleted_segment_is_known_but_has_no_path() {
        let line = b"7f0000000000-7f0000100000 rw-s 00000000 00:1a 77 /x/1.2.3.4 (deleted)\n";
        let found = candidates(line);
        assert_eq!((found.len(), found[0].path()), (1, None));
    }
}
