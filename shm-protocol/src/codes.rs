//! Kinds, counters, notes and flags: the small numbers that the words carry.
//!
//! Every list is append-only: a number, once given, keeps its meaning. The
//! golden layout test holds each one to that.

/// An enum of small numbers together with the list of all its members.
macro_rules! numbered {
    ($(#[$outer:meta])* pub enum $name:ident: $repr:ident {
        $($(#[$inner:meta])* $member:ident $(= $number:expr)?,)*
    }) => {
        $(#[$outer])*
        #[repr($repr)]
        pub enum $name {
            $($(#[$inner])* $member $(= $number)?,)*
        }

        #[allow(dead_code)]
        impl $name {
            const COUNT: usize = [$($name::$member),*].len();
            /// All of them, in the order of their numbers.
            pub const ALL: [$name; Self::COUNT] = [$($name::$member),*];

            /// The one with this number, if this version knows it.
            pub fn from_number(number: $repr) -> Option<$name> {
                Self::ALL.into_iter().find(|known| *known as $repr == number)
            }
        }
    };
}
pub(crate) use numbered;

numbered! {
    /// What a site creates. Stored in `Site::shape` and, for
    /// descriptors, in their rows.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    #[allow(missing_docs)]
    pub enum Kind: u8 {
        Heap = 1,
        Mapping = 2,
        Thread = 3,
        PosixTimer = 4,
        Registration = 5,
        Watch = 6,
        /// A child process.
        Child = 7,
        /// close(2) itself: of numbers that were not open, and of all numbers
        /// once there was such a close.
        Close = 15,
        /// Regular file, device or whatever a path named.
        File = 16,
        Directory = 17,
        Socket = 18,
        /// A socket that accept(2) gave.
        Accepted = 19,
        Pipe = 20,
        /// The read or write end that popen(3) keeps.
        Popen = 21,
        Epoll = 22,
        EventFd = 23,
        TimerFd = 24,
        SignalFd = 25,
        Inotify = 26,
        Fanotify = 27,
        MemFd = 28,
        PidFd = 29,
        UserFaultFd = 30,
        IoUring = 31,
        MessageQueue = 32,
        Pty = 33,
        SharedMemory = 34,
        /// dup(2) and its kin; the kernel knows what it is a duplicate of.
        Duplicate = 35,
        /// Came in an SCM_RIGHTS message.
        Received = 36,
        /// Was open already when the process image started, or came by fork(2).
        Inherited = 37,
        /// perf_event_open, bpf, landlock and others made by syscall(2).
        Other = 38,
    }
}

impl Kind {
    /// Whether rows of this kind live in the descriptor table.
    pub fn is_descriptor(self) -> bool {
        self as u8 >= Kind::File as u8
    }
}

numbered! {
    /// How much the library looks at.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Mode: u8 {
        /// Hooks pass through; removals are still recorded.
        Off = 0,
        /// Sampled heap, every descriptor.
        Light = 1,
        /// Every allocation, with its stack.
        Deep = 2,
    }
}

numbered! {
    /// What the user asked for; hybrid runs light until a watcher switches it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub enum Policy: u8 {
        Off = 0,
        Light = 1,
        Deep = 2,
        Hybrid = 3,
    }
}

numbered! {
    /// Life of a segment, stored in `Header::state`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum State: u32 {
        /// Being laid out; not to be read.
        Starting = 0,
        /// In use.
        Ready = 1,
        /// The process ended normally.
        Ended = 2,
        /// The same, and its record was not to be kept: whoever comes across
        /// the file removes it, as the process itself was not allowed to.
        Unwanted = 3,
    }
}

numbered! {
    /// Counters in `Header::counters`, by index. All only ever grow.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Counter: usize {
        /// Heap blocks that were sampled (deep mode: all).
        Samples = 0,
        /// Bytes of those blocks, as asked for.
        SampledBytes,
        /// Bytes that byte sampling passed over or took, all threads.
        ConsumedBytes,
        /// Allocations that rate sampling or deep mode passed over or took.
        ConsumedCalls,
        /// Heap rows lost for want of room.
        HeapFull,
        /// Events without a site: no room for sites or stacks.
        SitesFull,
        /// Descriptor events lost: number too high or no room.
        FdsFull,
        /// Rows written over a row in the way: their removal had been missed.
        Overwritten,
        /// Rows taken over half-written, or whose publication failed.
        Unsure,
        /// Events without a stack: unknown or alternate stack, or too little room.
        StacksSkipped,
        /// Sampling skipped because a hook was already at work on this thread.
        Nested,
        /// The segment could not grow (tmpfs or cgroup full, frozen).
        GrowthFailed,
        /// Modules that found no room in the module table.
        ModulesFull,
        /// Descriptor events of a child that shares memory but not descriptors.
        ForeignSkipped,
        /// Stacks cut at the depth limit.
        StacksCut,
        /// Sampled blocks whose marked copy could not be allocated.
        SamplesLost,
        /// close() of numbers that were not open.
        BadCloses,
        /// Commands refused because they made no sense.
        BadCommands,
        /// Stack look-ups answered by the thread's previous stack.
        StackHits,
        /// Stack look-ups that had to unwind.
        StackMisses,
        /// Timers, registrations, threads or children lost for want of room.
        RowsFull,
    }
}

/// Number of counter words in the header.
pub const COUNTERS: usize = 48;

const _: () = assert!(Counter::COUNT <= COUNTERS);

/// Facts about coverage, bits of `Header::notes`.
#[allow(missing_docs)]
pub mod note {
    /// The segment has no file: it can be read only while the process lives.
    pub const ANONYMOUS: u64 = 1 << 0;
    /// A seccomp filter was in force at start: no growth, no file.
    pub const SECCOMP_AT_START: u64 = 1 << 1;
    /// A seccomp filter was installed later: growth stopped.
    pub const SECCOMP_LATER: u64 = 1 << 2;
    /// mlockall(2) was called: growth stopped.
    pub const MLOCKALL: u64 = 1 << 3;
    /// The allocator in use cannot mark sampled blocks by alignment.
    pub const FOREIGN_ALLOCATOR: u64 = 1 << 4;
    /// This image was made by fork(2); earlier descriptors are inherited.
    pub const FORKED: u64 = 1 << 5;
    /// Some thread left the shared descriptor table with unshare(2).
    pub const UNSHARED_FILES: u64 = 1 << 6;
    /// A child shares this memory without its own thread block: every
    /// descriptor event asks the kernel whose it is.
    pub const PID_GATE: u64 = 1 << 7;
    /// No unwind tables by address in this libc: frame pointers only.
    pub const FRAME_POINTERS_ONLY: u64 = 1 << 8;
    /// RLIMIT_FSIZE or RLIMIT_AS kept the segment small.
    pub const SMALL: u64 = 1 << 9;
    /// The kernel cannot populate pages on request: fixed tables.
    pub const NO_POPULATE: u64 = 1 << 10;
    /// The segment stopped growing for want of memory.
    pub const GROWTH_STOPPED: u64 = 1 << 11;
    /// The MEMGUARD_* variables held a value that was not understood.
    pub const BAD_VARIABLE: u64 = 1 << 12;
    /// io_uring is in use: its reads and closes are not seen.
    pub const IO_URING: u64 = 1 << 13;
    /// The executable defines malloc itself: the heap is out of reach.
    pub const STATIC_ALLOCATOR: u64 = 1 << 14;
    /// Deep mode left rows that light mode goes on following exactly.
    pub const DEEP_ROWS_KEPT: u64 = 1 << 15;
    /// exec(2) is under way, or was the last that this image did: what came
    /// then has a record of its own, or none.
    pub const REPLACED: u64 = 1 << 16;
}

/// Flags of a heap row.
pub mod heap_flag {
    /// Taken over from a half-written row.
    pub const UNSURE: u16 = 1 << 0;
    /// Reserved: the block has pages of its own and its writes are watched.
    pub const WATCHED: u16 = 1 << 1;
    /// No stack could be taken.
    pub const NO_STACK: u16 = 1 << 2;
    /// The block has no mark that free would know it by.
    pub const UNMARKED: u16 = 1 << 3;
}

/// Flags of a descriptor row.
pub mod fd_flag {
    /// Written over a row in the way.
    pub const UNSURE: u8 = 1 << 0;
    /// The descriptor belongs to a FILE* or DIR*.
    pub const STDIO: u8 = 1 << 1;
    /// Placed on its number by dup2(2) or dup3(2).
    pub const PLACED: u8 = 1 << 2;
    /// No stack could be taken.
    pub const NO_STACK: u8 = 1 << 3;
    /// Passed on to another process by SCM_RIGHTS.
    pub const SENT: u8 = 1 << 4;
    /// Mapped by mmap(2): used without any call.
    pub const MAPPED: u8 = 1 << 5;
    /// Duplicated by dup(2) or its kin.
    pub const DUPLICATED: u8 = 1 << 6;
}

/// Flags of a row that is found by a key.
pub mod thing_flag {
    /// A timer that will expire.
    pub const ARMED: u8 = 1 << 0;
    /// A thread's notice that it needs no join: it was detached as it ran.
    pub const DETACHED: u8 = 1 << 1;
}

/// Flags of a registered cache.
pub mod cache_flag {
    /// Its callbacks may be called wherever the program waits.
    pub const ANYWHERE: u64 = 1 << 0;
    /// It cannot be asked to shrink.
    pub const FIXED: u64 = 1 << 1;
}

numbered! {
    /// Section types of the directory.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[allow(missing_docs)]
    pub enum Section: u32 {
        Modules = 1,
        Strings = 2,
        Stacks = 3,
        Sites = 4,
        SiteIndex = 5,
        Heap = 6,
        Fds = 7,
        FdStamps = 8,
        Slabs = 9,
        Ring = 10,
        Mailbox = 11,
        Timers = 12,
        Registrations = 13,
        Threads = 14,
        Mappings = 15,
        Settings = 16,
        BadCloses = 17,
        Children = 18,
        Caches = 19,
    }
}

numbered! {
    /// Who serves the program's malloc. Stored in `Header::allocator`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub enum Allocator: u32 {
        Glibc = 1,
        Jemalloc = 2,
        Tcmalloc = 3,
        Mimalloc = 4,
        /// One that cannot be asked to give anything back.
        Other = 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_their_number() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind as u8), Some(kind));
        }
        assert_eq!(Kind::from_number(0), None);
    }

    #[test]
    fn sections_survive_their_number() {
        for section in Section::ALL {
            assert_eq!(Section::from_number(section as u32), Some(section));
        }
        assert_eq!(Section::from_number(0), None);
    }
}
