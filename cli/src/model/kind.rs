//! The kinds of things a program can forget, as `--kind` takes them.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What sort of thing is held.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Regular files, directories, devices, memfd
    Files,
    /// TCP, UDP and Unix sockets
    Sockets,
    /// Pipes, FIFOs, popen
    Pipes,
    /// timerfd and POSIX timers
    Timers,
    /// epoll, inotify, eventfd, signalfd, pidfd
    Listeners,
    /// Threads never joined
    Threads,
    /// Child processes never waited for
    Children,
    /// Heap blocks
    Memory,
    /// Memory mappings
    Mappings,
    /// What allocators and libraries keep for later
    Caches,
    /// Heap blocks that hold each other
    Cycles,
}

impl Kind {
    /// The name on the command line and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Sockets => "sockets",
            Self::Pipes => "pipes",
            Self::Timers => "timers",
            Self::Listeners => "listeners",
            Self::Threads => "threads",
            Self::Children => "children",
            Self::Memory => "memory",
            Self::Mappings => "mappings",
            Self::Caches => "caches",
            Self::Cycles => "cycles",
        }
    }

    /// The word for `count` of them in a sentence.
    #[must_use]
    pub fn noun(self, count: u64) -> &'static str {
        let (one, many) = match self {
            Self::Files => ("file", "files"),
            Self::Sockets => ("socket", "sockets"),
            Self::Pipes => ("pipe end", "pipe ends"),
            Self::Timers => ("timer", "timers"),
            Self::Listeners => ("listener", "listeners"),
            Self::Threads => ("thread", "threads"),
            Self::Children => ("child", "children"),
            Self::Memory => ("block", "blocks"),
            Self::Mappings => ("mapping", "mappings"),
            // A cache is told of by the blocks that it holds.
            Self::Caches => ("block", "blocks"),
            Self::Cycles => ("cycle", "cycles"),
        };
        if count == 1 { one } else { many }
    }

    /// Whether each of them takes one of the process's descriptors.
    #[must_use]
    pub fn takes_descriptor(self) -> bool {
        matches!(
            self,
            Self::Files | Self::Sockets | Self::Pipes | Self::Timers | Self::Listeners
        )
    }
}
