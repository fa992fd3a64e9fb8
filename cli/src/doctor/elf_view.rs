//! What an executable's file says about how it can be observed.

use crate::kernel::proc_dir::read_up_to;
use crate::kernel::text::lossy;
use crate::symbols::open::RegularFile;
use memchr::memmem;
use object::elf;
use object::read::elf::{Dyn, ElfFile, FileHeader, ProgramHeader, Sym};
use object::read::{ReadCache, ReadRef, StringTable};
use object::{FileKind, Object, ObjectSection};
use rustix::fd::AsFd;
use std::collections::BTreeSet;

/// More of an executable is not read.
const READ_CAP_BYTES: usize = 1 << 30;

/// The C library an executable asks for, by the name of its loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libc {
    /// GNU.
    Glibc,
    /// musl.
    Musl,
    /// Another, such as Android's.
    Other,
}

/// An allocator that is compiled into the executable itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Allocator {
    /// jemalloc.
    Jemalloc,
    /// tcmalloc.
    Tcmalloc,
    /// mimalloc.
    Mimalloc,
    /// A malloc of the program's own, or one without a known mark.
    Own,
}

impl Allocator {
    /// Its name in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jemalloc => "jemalloc",
            Self::Tcmalloc => "tcmalloc",
            Self::Mimalloc => "mimalloc",
            Self::Own => "a malloc of its own",
        }
    }
}

/// How an allocator inside the executable was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A symbol.
    Symbol,
    /// Only a text in a stripped file.
    Text,
}

/// The facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfView {
    /// 32 or 64.
    pub bits: u8,
    /// The EM_* number of the processor.
    pub machine: u16,
    /// The loader it asks for; `None` for a static executable.
    pub interpreter: Option<String>,
    /// The libraries it asks for.
    pub needed: Vec<String>,
    /// Made by Go's toolchain.
    pub go: bool,
    /// Compiled-in allocator.
    pub allocator: Option<(Allocator, Evidence)>,
    /// Imports malloc, operator new or one of their kin.
    pub imports_malloc: bool,
    /// Marked as fit for shadow stacks.
    pub shadow_stack: bool,
    /// The newest glibc version among its symbols, as (major, minor): what a
    /// program asks for, and what the C library itself has.
    pub newest_glibc: Option<(u32, u32)>,
}

impl ElfView {
    /// Reads the facts; an error says in a few words why the file is no
    /// executable of this kind.
    pub fn read(file: &RegularFile) -> Result<Self, String> {
        let opened = file.file().map_err(|error| error.to_string())?;
        let bytes =
            read_up_to(opened.as_fd(), READ_CAP_BYTES).map_err(|error| error.to_string())?;
        Self::parse(&bytes)
    }

    /// The same from bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        match FileKind::parse(bytes).map_err(|error| error.to_string())? {
            FileKind::Elf32 => view::<elf::FileHeader32<object::Endianness>>(bytes, 32),
            FileKind::Elf64 => view::<elf::FileHeader64<object::Endianness>>(bytes, 64),
            _ => Err("it is no ELF file".to_owned()),
        }
    }

    /// No loader runs when it starts.
    pub fn is_static(&self) -> bool {
        self.interpreter.is_none()
    }

    /// The C library, by the loader's name.
    pub fn libc(&self) -> Option<Libc> {
        self.interpreter.as_deref().and_then(Libc::of_loader)
    }
}

impl Libc {
    /// By the path of its loader.
    pub fn of_loader(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?;
        Some(match name {
            _ if name.starts_with("ld-musl") => Self::Musl,
            _ if name.starts_with("ld-linux") || name.starts_with("ld64") || name == "ld.so.1" => {
                Self::Glibc
            }
            _ => Self::Other,
        })
    }
}

/// AddressSanitizer's runtime among the libraries that are asked for.
pub fn address_sanitizer(needed: &[String]) -> Option<&str> {
    let runtime =
        |name: &&String| name.starts_with("libasan.so") || name.starts_with("libclang_rt.asan");
    needed.iter().find(runtime).map(String::as_str)
}

/// The loader and the libraries that an executable asks for, without reading
/// all of it.
pub fn loading(file: &RegularFile) -> Option<(Option<String>, Vec<String>)> {
    let bytes = ReadCache::new(file.file().ok()?);
    let parsed = ElfFile::<elf::FileHeader64<object::Endianness>, _>::parse(&bytes).ok()?;
    Some((interpreter(&parsed, &bytes), needed(&parsed, &bytes)))
}

fn view<H>(bytes: &[u8], bits: u8) -> Result<ElfView, String>
where
    H: FileHeader<Endian = object::Endianness>,
{
    let file: ElfFile<'_, H> = ElfFile::parse(bytes).map_err(|error| error.to_string())?;
    let endian = file.endian();
    let symbols = Symbols::of(&file);
    Ok(ElfView {
        bits,
        machine: file.elf_header().e_machine(endian),
        interpreter: interpreter(&file, bytes),
        needed: needed(&file, bytes),
        go: [".go.buildinfo", ".note.go.buildid", ".gopclntab"]
            .iter()
            .any(|name| file.section_by_name(name).is_some()),
        allocator: symbols
            .allocator()
            .or_else(|| symbols.stripped.then(|| allocator_by_text(bytes)).flatten()),
        imports_malloc: symbols.imports_malloc,
        shadow_stack: shadow_stack(&file, bytes),
        newest_glibc: newest_glibc(&file),
    })
}

fn interpreter<'data, H, R>(file: &ElfFile<'data, H, R>, bytes: R) -> Option<String>
where
    H: FileHeader,
    R: ReadRef<'data>,
{
    let endian = file.endian();
    let mut headers = file.elf_program_headers().iter();
    headers.find_map(|header| Some(lossy(header.interpreter(endian, bytes).ok()??)))
}

/// DT_NEEDED, by way of the dynamic segment: section headers may be gone.
fn needed<'data, H, R>(file: &ElfFile<'data, H, R>, bytes: R) -> Vec<String>
where
    H: FileHeader,
    R: ReadRef<'data>,
{
    let endian = file.endian();
    let mut headers = file.elf_program_headers().iter();
    let Some(entries) = headers.find_map(|header| header.dynamic(endian, bytes).ok()?) else {
        return Vec::new();
    };
    let value = |tag: u32| {
        let entry = entries
            .iter()
            .find(|entry| entry.tag32(endian) == Some(tag))?;
        Some(entry.d_val(endian).into())
    };
    let names = value(elf::DT_STRTAB)
        .zip(value(elf::DT_STRSZ))
        .and_then(|(address, size)| {
            let offset = offset_of(file, address)?;
            Some(StringTable::new(bytes, offset, offset.checked_add(size)?))
        });
    let Some(names) = names else {
        return Vec::new();
    };
    entries
        .iter()
        .filter(|entry| entry.tag32(endian) == Some(elf::DT_NEEDED))
        .filter_map(|entry| names.get(entry.val32(endian)?).ok().map(lossy))
        .take(1000)
        .collect()
}

fn offset_of<'data, H, R>(file: &ElfFile<'data, H, R>, address: u64) -> Option<u64>
where
    H: FileHeader,
    R: ReadRef<'data>,
{
    let endian = file.endian();
    file.elf_program_headers().iter().find_map(|header| {
        let into = address.checked_sub(header.p_vaddr(endian).into())?;
        let loaded = header.p_type(endian) == elf::PT_LOAD && into < header.p_filesz(endian).into();
        let offset: u64 = header.p_offset(endian).into();
        loaded.then(|| offset.checked_add(into)).flatten()
    })
}

/// What the symbol tables say about allocation.
#[derive(Default)]
struct Symbols {
    defines: BTreeSet<Allocator>,
    imports_malloc: bool,
    stripped: bool,
}

/// Functions that only one allocator has. The prefixes are those of Rust's
/// and others' builds that keep it apart from libc's.
const MARKS: [(&[u8], Allocator); 12] = [
    (b"mallctl", Allocator::Jemalloc),
    (b"je_malloc", Allocator::Jemalloc),
    (b"je_mallctl", Allocator::Jemalloc),
    (b"_rjem_malloc", Allocator::Jemalloc),
    (b"_rjem_mallctl", Allocator::Jemalloc),
    (b"tc_malloc", Allocator::Tcmalloc),
    (b"TCMallocInternalMalloc", Allocator::Tcmalloc),
    (
        b"MallocExtension_Internal_GetNumericProperty",
        Allocator::Tcmalloc,
    ),
    (b"mi_malloc", Allocator::Mimalloc),
    (b"mi_heap_malloc", Allocator::Mimalloc),
    (b"malloc", Allocator::Own),
    (b"__libc_malloc", Allocator::Own),
];

/// malloc, its kin, and operator new for both sizes of size_t.
const IMPORTS: [&[u8]; 10] = [
    b"malloc",
    b"calloc",
    b"realloc",
    b"posix_memalign",
    b"aligned_alloc",
    b"memalign",
    b"_Znwm",
    b"_Znam",
    b"_Znwj",
    b"_Znaj",
];

impl Symbols {
    fn of<'data, H: FileHeader>(file: &ElfFile<'data, H>) -> Self {
        let mut found = Self {
            stripped: file.elf_symbol_table().is_empty(),
            ..Self::default()
        };
        for table in [file.elf_symbol_table(), file.elf_dynamic_symbol_table()] {
            let endian = file.endian();
            for symbol in table.iter() {
                if let Ok(name) = symbol.name(endian, table.strings()) {
                    found.take(name, symbol.is_undefined(endian), symbol.st_type());
                }
            }
        }
        found
    }

    fn take(&mut self, name: &[u8], undefined: bool, kind: u8) {
        // nm shows imports of the full table as malloc@GLIBC_2.2.5.
        let name = name.split(|&byte| byte == b'@').next().unwrap_or(name);
        match undefined {
            true => self.imports_malloc |= IMPORTS.contains(&name),
            // The jump stub of a non-PIC program that compares malloc's
            // address is defined, but no function.
            false if kind == elf::STT_FUNC || kind == elf::STT_GNU_IFUNC => {
                let known = MARKS.iter().find(|(mark, _)| *mark == name);
                self.defines.extend(known.map(|(_, allocator)| *allocator));
            }
            false => (),
        }
    }

    /// The named one before the nameless: they define malloc, too.
    fn allocator(&self) -> Option<(Allocator, Evidence)> {
        self.defines
            .first()
            .map(|&allocator| (allocator, Evidence::Symbol))
    }
}

/// Texts that the allocators carry with them: their own messages, prefixes
/// that no program would use in its own words.
fn allocator_by_text(bytes: &[u8]) -> Option<(Allocator, Evidence)> {
    let texts: [(&[u8], Allocator); 4] = [
        (b"<jemalloc>: ", Allocator::Jemalloc),
        (b"MIMALLOC_SHOW_STATS", Allocator::Mimalloc),
        (b"mimalloc: error: ", Allocator::Mimalloc),
        (
            b"TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES",
            Allocator::Tcmalloc,
        ),
    ];
    let found = texts
        .iter()
        .find(|(text, _)| memmem::find(bytes, text).is_some());
    found.map(|&(_, allocator)| (allocator, Evidence::Text))
}

/// GNU_PROPERTY_X86_FEATURE_1_SHSTK of the note that the loader looks at.
fn shadow_stack<'data, H: FileHeader>(file: &ElfFile<'data, H>, bytes: &'data [u8]) -> bool {
    let endian = file.endian();
    let headers = file.elf_program_headers().iter();
    let notes = headers.filter_map(|header| header.notes(endian, bytes).ok()?);
    for mut notes in notes.take(64) {
        while let Ok(Some(note)) = notes.next() {
            let Some(properties) = note.gnu_properties(endian) else {
                continue;
            };
            let is_set = |property: object::read::elf::GnuProperty<'_>| {
                property.pr_type() == elf::GNU_PROPERTY_X86_FEATURE_1_AND
                    && property
                        .data_u32(endian)
                        .is_ok_and(|bits| bits & elf::GNU_PROPERTY_X86_FEATURE_1_SHSTK != 0)
            };
            if properties.map_while(Result::ok).take(64).any(is_set) {
                return true;
            }
        }
    }
    false
}

/// The highest GLIBC_x.y among the dynamic strings: for a program what it
/// asks for, for the C library what it has.
fn newest_glibc<'data, H: FileHeader>(file: &ElfFile<'data, H>) -> Option<(u32, u32)> {
    let strings = file.section_by_name(".dynstr")?.data().ok()?;
    let names = memmem::find_iter(strings, b"GLIBC_").take(10_000);
    names
        .filter_map(|at| glibc_version(&strings[at + 6..]))
        .max()
}

fn glibc_version(text: &[u8]) -> Option<(u32, u32)> {
    let end = text.iter().position(|&byte| byte == 0)?;
    let text = std::str::from_utf8(&text[..end]).ok()?;
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_ordinary_program() {
        let bytes = std::fs::read("/bin/sh").expect("it is there");
        let view = ElfView::parse(&bytes).expect("an ELF file");
        assert_eq!((view.bits, view.libc()), (64, Some(Libc::Glibc)));
        assert!(!view.is_static() && !view.go && view.imports_malloc);
        assert_eq!(view.allocator, None);
        assert!(view.needed.iter().any(|name| name == "libc.so.6"));
        assert!(view.newest_glibc >= Some((2, 2)));
    }

    #[test]
    fn allocators_of_libraries_are_known_by_their_marks() {
        // Installed only where tests of other allocators run.
        for (path, expected) in [
            (
                "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
                Allocator::Jemalloc,
            ),
            (
                "/usr/lib/x86_64-linux-gnu/libtcmalloc.so.4",
                Allocator::Tcmalloc,
            ),
            (
                "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2",
                Allocator::Mimalloc,
            ),
        ] {
            let Ok(bytes) = std::fs::read(path) else {
                continue;
            };
            let view = ElfView::parse(&bytes).expect("an ELF file");
            assert_eq!(view.allocator, Some((expected, Evidence::Symbol)), "{path}");
            assert_eq!(
                allocator_by_text(&bytes),
                Some((expected, Evidence::Text)),
                "{path}"
            );
        }
    }

    #[test]
    fn versions_of_glibc() {
        assert_eq!(glibc_version(b"2.34\0"), Some((2, 34)));
        assert_eq!(glibc_version(b"2.2.5\0"), Some((2, 2)));
        assert_eq!(glibc_version(b"PRIVATE\0"), None);
        assert_eq!(glibc_version(b"2.34"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn broken_files_are_survived(
            changes in proptest::collection::vec((0usize..40_000, any::<u8>()), 0..60),
            head in proptest::collection::vec((0usize..1200, any::<u8>()), 0..6),
            cut in 0usize..40_000,
        ) {
            let mut bytes = std::fs::read("/bin/true").expect("it is there");
            for (at, value) in changes.into_iter().chain(head) {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            let _ = ElfView::parse(&bytes);
        }
    }
}
