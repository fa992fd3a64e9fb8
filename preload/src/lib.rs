//! `libmemguard.so`: preloaded into a program, it keeps what the program
//! takes and gives back in a shared segment.
//!
//! The way of an event: a stub ([`interpose`]) jumps to a hook ([`hooks`]),
//! the hook makes the real call and hands over to [`blocks`],
//! [`descriptors`] or [`things`]; these ask [`sites`] for the call site ([`unwind`],
//! [`cfi`], [`modules`]) and write rows into the [`segment`] that [`live`]
//! holds for this process. [`stamps`] says when descriptors
//! were used, [`closes`] which closes were wrong. [`mode`] switches paths, [`sample`] draws,
//! [`boot`] starts it all. Nothing here allocates from the program's heap,
//! waits, starts a thread or keeps a descriptor (ARCHITECTURE.md, I1 and I2).

#![allow(missing_docs, reason = "nothing here is called from Rust")]

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
compile_error!("libmemguard.so supports x86_64 Linux with glibc only: build on such a machine.");

mod allocators;
mod birth;
mod blocks;
mod boot;
mod caches;
mod cfi;
mod cgroup;
mod clock;
mod closes;
mod config;
mod descriptors;
mod elf;
mod emit;
mod execute;
mod file;
mod guard;
mod hooks;
mod inherit;
mod interpose;
mod learned;
mod live;
mod marks;
mod mode;
mod modules;
mod nursery;
mod page;
mod plain;
mod prune;
mod python;
mod quiet;
mod retire;
mod sample;
mod segment;
mod sites;
mod sqlite;
mod stamps;
mod strings;
mod sys;
mod text;
mod things;
mod thread;
mod tls;
mod traps;
mod unwind;
mod who;
