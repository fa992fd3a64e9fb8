//! The atomics of the shared tables: the machine's own, or loom's in a model.
//!
//! This is the only place that chooses by `cfg(loom)`; the tables are written
//! against what it exports. (The crate's root leaves out, in a model, what pins
//! bytes: loom's atomics have another size.)

#[cfg(loom)]
mod model;

#[cfg(loom)]
pub use model::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
