//! The shared-memory segment of memguard.
//!
//! One segment belongs to one process. The library inside the process writes
//! it, the command line outside copies and reads it, and a crash leaves it
//! behind. This crate holds the layout, the lock-free tables that the library
//! writes, and the reader that trusts nothing. It does no I/O.
//!
//! - [`layout`]: header, section directory and rows, byte for byte
//! - [`pins`]: the offsets held in place
//! - [`codes`]: kinds, counters, notes and flags that the words carry
//! - [`words`]: packing of a row's words, and the check that finds torn rows
//! - [`heap`]: live heap blocks, found by address
//! - [`fds`]: descriptors, found by number
//! - [`activity`]: when a stamped descriptor was used last
//! - [`closes`]: closes of numbers that were not open
//! - [`plain`]: timers, registrations, ended threads, children, found by a key
//! - [`sites`]: call sites, their counters, checkpoints and index
//! - [`hist`]: the half-octave lifetime histogram
//! - [`weight`]: what one sampled block stands for
//! - [`ring`]: the event ring that only a live reader switches on
//! - [`mailbox`]: commands from outside
//! - [`caches`]: caches that the program has registered
//! - [`view`]: the bounds-checked reader over a copy of the segment
//! - [`sync`]: the atomics, ordinary or loom's

pub mod activity;
pub mod caches;
#[cfg(not(loom))]
pub mod closes;
pub mod codes;
pub mod fds;
pub mod heap;
pub mod hist;
#[cfg(not(loom))]
pub mod layout;
pub mod mailbox;
#[cfg(not(loom))]
pub mod pins;
pub mod plain;
pub mod ring;
pub mod sites;
pub mod sync;
#[cfg(not(loom))]
pub mod view;
pub mod weight;
pub mod words;
