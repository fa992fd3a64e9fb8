//! The mappings of a process: `/proc/PID/maps`, proc_pid_maps(5).

use super::{KernelError, ProcDir, text, threads};

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// The address behind the last.
    pub end: u64,
    /// May be read.
    pub readable: bool,
    /// May be written.
    pub writable: bool,
    /// May be executed.
    pub executable: bool,
    /// Writes reach the file and other processes.
    pub shared: bool,
    /// Offset of `start` in the file.
    pub offset: u64,
    /// Device of the file, as stat(2) gives it; 0 for none.
    pub device: u64,
    /// Inode of the file; 0 for none.
    pub inode: u64,
    /// The file's path as the process sees it or a name like `[heap]`,
    /// lossily decoded; empty for anonymous memory.
    pub path: String,
    /// True when the kernel says that the file has no name any more.
    pub deleted: bool,
}

impl Mapping {
    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// What it is for.
    pub fn class(&self) -> Class {
        match self.path.as_str() {
            "[heap]" => Class::Heap,
            "[stack]" => Class::Stack,
            _ if self.inode != 0 && self.shared => Class::SharedFile,
            _ if self.inode != 0 => Class::File,
            path if path.is_empty() || path.starts_with("[anon") => Class::Anonymous,
            _ => Class::Kernel,
        }
    }
}

/// The uses that a summary tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The break segment.
    Heap,
    /// The first thread's stack.
    Stack,
    /// Private memory without a file: large allocations, thread stacks.
    Anonymous,
    /// A file mapped privately: programs and libraries.
    File,
    /// A file mapped shared, tmpfs and memfd included.
    SharedFile,
    /// The kernel's own: vdso, vvar, vsyscall.
    Kernel,
}

impl Class {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Stack => "stack",
            Self::Anonymous => "anonymous",
            Self::File => "file",
            Self::SharedFile => "shared file",
            Self::Kernel => "kernel",
        }
    }
}

/// How many mappings of a class there are, and how large together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassTotal {
    /// The class.
    pub class: Class,
    /// Number of mappings.
    pub count: usize,
    /// Address space in bytes, resident or not.
    pub bytes: u64,
}

/// Reads the mappings, in order of their addresses.
pub fn read(dir: &ProcDir) -> Result<Vec<Mapping>, KernelError> {
    let bytes = threads::read_shared(dir, "maps")?;
    Ok(text::lines(&bytes).filter_map(parse).collect())
}

/// Sums up mappings by class, largest first.
pub fn totals(mappings: &[Mapping]) -> Vec<ClassTotal> {
    let mut sums = std::collections::BTreeMap::new();
    for mapping in mappings {
        let (count, bytes) = sums.entry(mapping.class()).or_insert((0, 0u64));
        *count += 1;
        *bytes = bytes.saturating_add(mapping.bytes());
    }
    let mut totals: Vec<_> = sums
        .into_iter()
        .map(|(class, (count, bytes))| ClassTotal {
            class,
            count,
            bytes,
        })
        .collect();
    totals.sort_by_key(|total| std::cmp::Reverse(total.bytes));
    totals
}

/// `7f00-7f01 r-xp 00001000 fe:00 1234      /lib/x.so (deleted)`
pub(super) fn parse(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut word = || std::str::from_utf8(fields.next()?).ok();
    let (start, end) = word()?.split_once('-')?;
    let rights = word()?.as_bytes();
    let offset = text::hex(word()?)?;
    let (major, minor) = word()?.split_once(':')?;
    let inode = word()?.parse().ok()?;
    let name = fields.next().unwrap_or(&[]).trim_ascii_start();
    let (path, deleted) = path(name);
    Some(Mapping {
        start: text::hex(start)?,
        end: text::hex(end)?,
        readable: rights.first() == Some(&b'r'),
        writable: rights.get(1) == Some(&b'w'),
        executable: rights.get(2) == Some(&b'x'),
        shared: rights.get(3) == Some(&b's'),
        offset,
        device: rustix::fs::makedev(text::hex(major)? as u32, text::hex(minor)? as u32),
        inode,
        path,
        deleted,
    })
}

/// The kernel writes a line end in a path as `\012` and marks files that lost
/// their name.
fn path(name: &[u8]) -> (String, bool) {
    let kept = name
        .strip_suffix(b" (deleted)")
        .filter(|rest| rest.starts_with(b"/"));
    let path = text::lossy(kept.unwrap_or(name)).replace("\\012", "\n");
    (path, kept.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_with_everything() {
        let line = b"7f0000000000-7f0000002000 rw-s 00001000 fe:03 1234                       /a b\\012c (deleted)";
        let mapping = parse(line).expect("well formed");
        assert_eq!((mapping.start, mapping.bytes()), (0x7f00_0000_0000, 0x2000));
        assert!(mapping.readable && mapping.writable && mapping.shared && !mapping.executable);
        assert_eq!((mapping.offset, mapping.inode), (0x1000, 1234));
        assert_eq!(mapping.device, rustix::fs::makedev(0xfe, 3));
        assert_eq!((mapping.path.as_str(), mapping.deleted), ("/a b\nc", true));
        assert_eq!(mapping.class(), Class::SharedFile);
    }

    #[test]
    fn our_own_mappings_cover_what_we_use() {
        let dir = ProcDir::open(std::process::id() as i32).expect("ourselves");
        let mappings = read(&dir).expect("our own");
        let holding = |address: usize| {
            let address = address as u64;
            mappings
                .iter()
                .find(|m| m.start <= address && address < m.end)
                .cloned()
        };
        let code = holding(a_line_with_everything as fn() as usize).expect("our code");
        let ours = std::fs::read_link("/proc/self/exe").expect("our own");
        assert!(code.executable && code.path == ours.to_str().expect("plain"));
        let stack = holding(&raw const dir as usize).expect("our stack");
        assert!(stack.writable);
        let totals = totals(&mappings);
        let count: usize = totals.iter().map(|total| total.count).sum();
        assert_eq!(count, mappings.len());
        assert!(
            totals
                .iter()
                .any(|total| total.class == Class::File && total.bytes > 0)
        );
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in "[0-9a-f:rwxps/ é()-]{0,120}") {
            let _ = parse(line.as_bytes()).map(|mapping| (mapping.bytes(), mapping.class()));
        }
    }
}
