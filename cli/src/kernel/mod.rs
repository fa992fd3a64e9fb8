//! The kernel's own records of a process: what is true whatever the library
//! saw.
//!
//! - [`proc_dir`]: one `/proc/PID`, held open; [`error`]: what can go wrong;
//!   [`text`]: small parsers
//! - [`process`]: who it is; [`access`]: what we may do; [`cgroup`] and
//!   [`available`]: its share of the memory and what is left
//! - [`descriptors`]: every open descriptor, its kind and its facts
//! - [`sockets`]: the state of each socket
//! - [`threads`] and [`blocked`]: the threads and what they block on;
//!   [`children`]: the children; [`registers`]: what threads keep in registers
//! - [`timers`]: POSIX timers; [`maps`]: the address space; [`smaps`]: what is
//!   resident of it
//! - [`kcmp`]: whether two processes share something
//! - [`outside`]: all of it, for a process without memguard's library
//!
//! Whatever is read here was shaped by the watched process or by strangers on
//! its network: reads are bounded, parsers do not panic, and text is handed on
//! as it came (lossily decoded), for the renderer to neutralise.

pub mod access;
pub mod available;
pub mod blocked;
pub mod cgroup;
pub mod children;
pub mod descriptors;
pub mod error;
pub mod kcmp;
pub mod maps;
pub mod outside;
pub mod proc_dir;
pub mod process;
pub mod registers;
pub mod smaps;
pub mod sockets;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
pub mod threads;
pub mod timens;
pub mod timers;

pub use access::Access;
pub use cgroup::CgroupMemory;
pub use descriptors::{Descriptor, Descriptors, Facts, Group, Kind};
pub use error::KernelError;
pub use maps::Mapping;
pub use outside::Outside;
pub use proc_dir::ProcDir;
pub use process::{Limit, Namespaces, Process};
pub use smaps::{Resident, Rollup, Smaps};
pub use sockets::{Address, Socket, Sockets, State, TcpTimes};
pub use threads::Thread;
pub use timens::ClocksAhead;
pub use timers::PosixTimer;
