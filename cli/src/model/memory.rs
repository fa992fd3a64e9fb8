//! Where the resident memory of a process lies.

use serde::{Deserialize, Serialize};

/// The resident set, explained: the parts add up to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The sum of the parts: the kernel's account, mapping by mapping
    pub rss_bytes: u64,
    /// The kernel's own running count of the same, read a moment apart
    pub vm_rss_bytes: Option<u64>,
    /// In swap space, and in no part
    pub swap_bytes: u64,
    /// Largest first; what there is none of is left out
    pub parts: Vec<MemoryPart>,
}

/// One part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPart {
    /// Which
    pub name: PartName,
    /// Its pages in memory
    pub bytes: u64,
}

/// The parts that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartName {
    /// Blocks in use, estimated where sampled
    LiveHeap,
    /// The rest of the allocator's memory: fragmentation, caches, and blocks that nobody recorded
    AllocatorFree,
    /// Programs and libraries, with what was written to their data
    FilesPrivate,
    /// Files mapped shared, tmpfs and memfd included
    FilesShared,
    /// Anonymous maps that the program was seen to make
    Mappings,
    /// Other anonymous maps
    Anonymous,
    /// Stacks of the threads
    Stacks,
    /// What the kernel maps into every process
    Kernel,
    /// memguard's record and library
    Memguard,
    /// Mappings beyond those that are looked at one by one, or a very large process
    Unread,
}

impl PartName {
    /// The words for it in a sentence.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::LiveHeap => "live heap",
            Self::AllocatorFree => "free in the allocator or not seen",
            Self::FilesPrivate => "files mapped private",
            Self::FilesShared => "files mapped shared",
            Self::Mappings => "maps it made",
            Self::Anonymous => "other anonymous maps",
            Self::Stacks => "stacks",
            Self::Kernel => "the kernel's",
            Self::Memguard => "memguard's own",
            Self::Unread => "not looked at in detail",
        }
    }
}

impl Memory {
    /// The bytes of one part, 0 when there are none.
    #[must_use]
    pub fn bytes(&self, name: PartName) -> u64 {
        let part = self.parts.iter().find(|part| part.name == name);
        part.map_or(0, |part| part.bytes)
    }
}
