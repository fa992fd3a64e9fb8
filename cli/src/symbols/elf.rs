//! What an ELF file says of itself. Read, never mapped; bounded by the file's
//! size.

use object::elf::PT_LOAD;
use object::read::elf::{ElfFile, FileHeader, ProgramHeader};
use object::{File as Object, Object as _, ObjectSection as _, ReadCache, ReadRef};
use std::fs::File;

/// The facts that finding symbols needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ElfFacts {
    /// The linker's name for this very build.
    pub build_id: Option<Vec<u8>>,
    /// What is loaded from where.
    pub segments: Vec<Segment>,
    /// Debug information inside the file.
    pub has_debug_info: bool,
    /// It names a file with debug information, whatever that name is.
    pub has_debug_link: bool,
    /// File name and checksum of debug information kept apart, if the name is
    /// a plain one.
    pub debug_link: Option<DebugLink>,
}

/// A loaded part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Address before relocation.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Size in the file.
    pub bytes: u64,
}

/// The contents of `.gnu_debuglink`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugLink {
    /// A file name without folders.
    pub name: Vec<u8>,
    /// CRC-32 of that file.
    pub crc: u32,
}

impl ElfFacts {
    /// Reads them from an open file; an error says in a few words what is
    /// wrong with it.
    pub fn read(file: File) -> Result<Self, String> {
        let cache = ReadCache::new(file);
        let object = Object::parse(&cache).map_err(|error| error.to_string())?;
        let section = |name| {
            object
                .section_by_name(name)
                .is_some_and(|section| section.size() > 0)
        };
        Ok(Self {
            build_id: object.build_id().ok().flatten().map(<[u8]>::to_vec),
            segments: segments(&object),
            has_debug_info: section(".debug_info"),
            has_debug_link: section(".gnu_debuglink"),
            debug_link: object.gnu_debuglink().ok().flatten().and_then(debug_link),
        })
    }

    /// The address before relocation of a place in the file.
    pub fn address_of(&self, file_offset: u64) -> Option<u64> {
        let holds = |segment: &&Segment| {
            file_offset
                .checked_sub(segment.offset)
                .is_some_and(|into| into < segment.bytes)
        };
        let segment = self.segments.iter().find(holds)?;
        segment.address.checked_add(file_offset - segment.offset)
    }
}

/// A name with a folder in it could lead anywhere.
fn debug_link((name, crc): (&[u8], u32)) -> Option<DebugLink> {
    let plain = !name.is_empty() && !name.contains(&b'/') && name != b".." && name != b".";
    plain.then(|| DebugLink {
        name: name.to_vec(),
        crc,
    })
}

fn segments<'data, R: ReadRef<'data>>(object: &Object<'data, R>) -> Vec<Segment> {
    match object {
        Object::Elf32(elf) => loaded::<object::elf::FileHeader32<_>, R>(elf),
        Object::Elf64(elf) => loaded::<object::elf::FileHeader64<_>, R>(elf),
        _ => Vec::new(),
    }
}

fn loaded<'data, H, R>(elf: &ElfFile<'data, H, R>) -> Vec<Segment>
where
    H: FileHeader,
    R: ReadRef<'data>,
{
    let endian = elf.endian();
    let headers = elf.elf_program_headers().iter();
    headers
        .filter(|header| header.p_type(endian) == PT_LOAD)
        .map(|header| Segment {
            address: header.p_vaddr(endian).into(),
            offset: header.p_offset(endian).into(),
            bytes: header.p_filesz(endian).into(),
        })
        .collect()
}

/// A build id as people write it.
pub fn hex(build_id: &[u8]) -> String {
    build_id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Seek, SeekFrom, Write};

    fn of_bytes(bytes: &[u8]) -> Result<ElfFacts, String> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("writable");
        file.seek(SeekFrom::Start(0)).expect("seekable");
        ElfFacts::read(file)
    }

    #[test]
    fn our_own_file_has_code_where_its_headers_say() {
        let ours = File::open("/proc/self/exe").expect("our own");
        let facts = ElfFacts::read(ours).expect("an ELF file");
        assert!(facts.has_debug_info && facts.segments.len() >= 2);
        let segment = facts.segments[1];
        assert_eq!(
            facts.address_of(segment.offset + 5),
            Some(segment.address + 5)
        );
        assert_eq!(facts.address_of(u64::MAX), None);
    }

    #[test]
    fn a_debug_link_with_a_folder_is_none() {
        assert_eq!(debug_link((b"../../etc/x", 1)), None);
        assert_eq!(debug_link((b"..", 1)), None);
        assert!(debug_link((b"x.debug", 1)).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn broken_files_are_survived(changes in proptest::collection::vec((0usize..4096, any::<u8>()), 0..40), cut in 0usize..40_000) {
            let mut bytes = std::fs::read("/bin/true").expect("it is there");
            bytes.truncate(bytes.len().saturating_sub(cut));
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            if let Ok(facts) = of_bytes(&bytes) {
                let _ = facts.address_of(0x1234);
            }
        }
    }
}
