//! memguard's command line: finds instrumented processes, reads what their
//! library recorded, checks it against the kernel and says what leaks.
//!
//! The data's way, module by module:
//! - [`args`]: the verbs and flags, also the source of man pages and completions
//! - [`attach`]: from a pid, name or file to the bytes of a segment
//! - [`kernel`]: what the kernel itself says of a process
//! - [`snapshot`]: those bytes and the kernel's records, reconciled
//! - [`detect`]: pure functions from a snapshot to findings
//! - [`fix`]: gates, ladder and executors that clean up without harm
//! - [`rules`]: what the user says is fine
//! - [`state`]: what outlives one look: earlier ones, earlier runs, labels
//! - [`doctor`]: why a program is or is not fully observable
//! - [`symbols`]: functions, files and lines of recorded addresses
//! - [`model`]: the stable JSON shapes
//! - [`render`]: one writer per format
//! - [`commands`]: one verb a file
//! - [`file_limit`], [`descriptor_limit`], [`memory_limit`]: what limits on us make of
//!   that: an error, and no wrong figure
#![deny(unsafe_code)]

pub mod args;
pub mod attach;
pub mod commands;
pub mod descriptor_limit;
pub mod detect;
pub mod doctor;
pub mod error;
pub mod file_limit;
pub mod fix;
pub mod kernel;
pub mod memory_limit;
pub mod model;
pub mod render;
pub mod rules;
pub mod snapshot;
pub mod state;
pub mod symbols;
pub mod units;
