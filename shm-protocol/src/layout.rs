//! The segment byte for byte: header, section directory, rows.
//!
//! Fixed-width little-endian atomics only; offsets, never addresses. A segment
//! starts with the [`Header`], then the directory of [`Extent`]s at
//! [`DIRECTORY_AT`]. A section is all extents of its kind, its rows numbered
//! through them, so sections grow without moving, and a reader skips kinds that
//! it does not know. No two extents share a byte.
//!
//! | | who writes | order |
//! |---|---|---|
//! | header | the library; `wanted_` words, heartbeat and `mail` come from outside | `magic` last |
//! | directory | the library, one entry a growth, never changed again | `kind` last |
//! | rows | the library's hooks, all threads at once | each table's own check or swap |
//! | mailbox | both, by turns | `state` last |
//!
//! Whatever needs no order is relaxed: a reader copies while others write and
//! counts on checks, not on order.
//!
//! [`crate::pins`] holds every offset; a change that moves one needs a new
//! [`ABI_MAJOR`], a change that only adds needs a new [`ABI_MINOR`].

use crate::activity::PAUSES;
use crate::caches::CacheRow;
use crate::codes::COUNTERS;
use crate::fds::FdRow;
use crate::heap::HeapBucket;
use crate::mailbox::MailSlot;
use crate::plain::PlainRow;
use crate::ring::RingSlot;
use crate::sites::Site;
use crate::sync::{AtomicU32, AtomicU64};
use core::mem::size_of;

/// First eight bytes of every segment.
pub const MAGIC: u64 = u64::from_le_bytes(*b"MEMGUARD");
/// Readers refuse any other.
pub const ABI_MAJOR: u32 = 1;
/// Grows when something is added.
pub const ABI_MINOR: u32 = 7;

/// Where the directory starts.
pub const DIRECTORY_AT: usize = 4096;
/// Extents that the directory holds.
pub const EXTENTS: usize = 200;
/// Where the first extent may start.
pub const DATA_AT: usize = 12288;
/// Sampling classes that heap rows can refer to.
pub const CLASSES: usize = 16;

/// Start of the segment. Words marked "outside" are written by whoever watches,
/// all others by the library. Times in ms and s count from `created_mono_ns`.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    /// [`MAGIC`], released after everything else is laid out.
    pub magic: AtomicU64,
    /// [`ABI_MAJOR`] over [`ABI_MINOR`] (32 bits each).
    pub abi: AtomicU64,
    /// `State` of the segment.
    pub state: AtomicU32,
    /// Directory entries handed out; one whose kind is 0 is still being written.
    pub extents: AtomicU32,
    /// Process id in its own namespace.
    pub pid: AtomicU32,
    /// Parent's process id in the same namespace.
    pub parent_pid: AtomicU32,
    /// Effective user id at creation: whose folder the file lies in.
    pub uid: AtomicU32,
    /// How many images (exec) this process had before.
    pub image: AtomicU32,
    /// Inode of the pid namespace.
    pub pid_namespace: AtomicU64,
    /// Start time of the process in clock ticks since boot (stat, field 22).
    pub start_ticks: AtomicU64,
    /// Hash of the boot id, so that a dead file of an earlier boot is known.
    pub boot: AtomicU64,
    /// CLOCK_REALTIME at creation, ns since 1970: all row times count from here.
    pub created_real_ns: AtomicU64,
    /// CLOCK_MONOTONIC_COARSE at creation, ns.
    pub created_mono_ns: AtomicU64,
    /// Seconds since creation, stored by any hook that read the clock.
    pub tick_s: AtomicU64,
    /// `Mode` in force.
    pub mode: AtomicU32,
    /// `Policy` asked for.
    pub policy: AtomicU32,
    /// Outside: wanted `Mode` (8 bits) over a sequence number (56).
    pub wanted_mode: AtomicU64,
    /// Outside: end of the wanted mode in ms since creation, 0 for none.
    pub wanted_until_ms: AtomicU64,
    /// The `wanted_mode` word that was last obeyed.
    pub applied_mode: AtomicU64,
    /// End of the mode in force in ms since creation, 0 for none.
    pub mode_until_ms: AtomicU64,
    /// Mode to go back to at that end.
    pub mode_after: AtomicU32,
    /// Index of the class that light mode uses now.
    pub light_class: AtomicU32,
    /// Index of the class that deep mode uses now.
    pub deep_class: AtomicU32,
    /// `Allocator` that serves malloc, 0 when unknown.
    pub allocator: AtomicU32,
    /// Bytes of the file handed out to extents.
    pub used_bytes: AtomicU64,
    /// Bytes that the file may grow to.
    pub limit_bytes: AtomicU64,
    /// `note` bits.
    pub notes: AtomicU64,
    /// Outside: ms since creation when a ring reader was last alive.
    pub heartbeat_ms: AtomicU64,
    /// Tickets of the event ring handed out, one an event.
    pub ring_head: AtomicU64,
    /// Words of the stack arena handed out. No stack crosses an extent's end.
    pub stack_words: AtomicU64,
    /// Bytes of the strings handed out. No string crosses an extent's end.
    pub string_bytes: AtomicU64,
    /// Site rows handed out; row 0 stays empty, since id 0 means no site.
    pub site_rows: AtomicU64,
    /// Module rows handed out.
    pub module_rows: AtomicU64,
    /// Bumped whenever a module was added, moved or unloaded.
    pub module_generation: AtomicU64,
    /// Soft RLIMIT_NOFILE at start.
    pub fd_limit: AtomicU64,
    /// Session that `run` gave through the environment, 0 for none.
    pub run_id: AtomicU64,
    /// `Pause` words: the longest times in which no hook read the clock.
    pub pauses: [AtomicU64; PAUSES],
    /// Outside: `mail` bits, when a command was put into the mailbox. Inside:
    /// cleared by whom they are for, before the slots are looked at.
    pub mail: AtomicU64,
    /// Hash of the path of the working directory at the image's start, 0 where
    /// it is not known: relative names in `cmdline` are from there.
    pub folder_hash: AtomicU64,
    /// Zero.
    pub reserved_b: [AtomicU64; 2],
    /// `Class` words; 0 is unused.
    pub classes: [AtomicU64; CLASSES],
    /// By `Counter`.
    pub counters: [AtomicU64; COUNTERS],
    /// First bytes of the command line, arguments ended by 0.
    pub cmdline: [AtomicU64; 64],
    /// Path of the executable, ended by 0.
    pub executable: [AtomicU64; 64],
}

/// One run of rows of a section.
#[repr(C)]
#[derive(Debug)]
pub struct Extent {
    /// `Section` number (32 bits) under row size in bytes (32); stored last.
    pub kind: AtomicU64,
    /// Offset in the segment, in bytes.
    pub offset: AtomicU64,
    /// Number of the first row in its section.
    pub first_row: AtomicU64,
    /// Rows.
    pub rows: AtomicU64,
    /// Version of the row layout.
    pub version: AtomicU64,
}

/// A module: something executable that frames point into. Its row number is
/// its id. A module loaded again at the same path and build id keeps its row.
#[repr(C)]
#[derive(Debug)]
pub struct ModuleRow {
    /// 1 loaded, 2 unloaded; 0 being written, released last.
    pub state: AtomicU64,
    /// Address minus ELF virtual address, at the last load.
    pub bias: AtomicU64,
    /// First byte of the text, at the last load.
    pub start: AtomicU64,
    /// One past the text.
    pub end: AtomicU64,
    /// Strings: offset of the path (48 bits) over its length (16).
    pub path: AtomicU64,
    /// Build id, up to 24 bytes.
    pub build_id: [AtomicU64; 3],
    /// Length of the build id.
    pub build_id_bytes: AtomicU64,
    /// Times loaded.
    pub loads: AtomicU64,
    /// When last loaded, ms since creation.
    pub loaded_ms: AtomicU64,
    /// When last unloaded.
    pub unloaded_ms: AtomicU64,
}

/// Counters of a few threads, summed by the reader.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Slab {
    /// Allocations seen (deep mode).
    pub births: AtomicU64,
    /// Frees seen (deep mode).
    pub deaths: AtomicU64,
    /// Bytes allocated.
    pub bytes_born: AtomicU64,
    /// Bytes freed.
    pub bytes_died: AtomicU64,
    /// Bytes that byte sampling has gone through.
    pub consumed_bytes: AtomicU64,
    /// Allocations that rate sampling has gone through.
    pub consumed_calls: AtomicU64,
    /// Zero.
    pub reserved: [AtomicU64; 2],
}

const _: () = assert!(DIRECTORY_AT + EXTENTS * size_of::<Extent>() <= DATA_AT);
const _: () = assert!(DATA_AT.is_multiple_of(4096));

/// Row size of a section in this version.
pub const fn row_bytes(section: crate::codes::Section) -> usize {
    use crate::codes::Section::*;
    match section {
        Modules => size_of::<ModuleRow>(),
        Strings | Settings => 1,
        Stacks | SiteIndex => 8,
        Sites => size_of::<Site>(),
        Heap => size_of::<HeapBucket>(),
        Fds => size_of::<FdRow>(),
        FdStamps => 4,
        Slabs => size_of::<Slab>(),
        Ring => size_of::<RingSlot>(),
        Mailbox => size_of::<MailSlot>(),
        Caches => size_of::<CacheRow>(),
        Timers | Registrations | Threads | Mappings | BadCloses | Children => size_of::<PlainRow>(),
    }
}
