//! What is known of one process: the library's tables and the kernel's
//! records, reconciled. Findings, lists and files are all made from this.
//!
//! - [`facts`]: what the kernel said; [`collect`] asks it; [`look`] keeps it
//!   beside the segment; [`file`] saves it with the segment
//! - [`sites`], [`heap`], [`descriptors`], [`things`], [`closes`]: the tables,
//!   merged and checked; `activity`: when descriptors were used last; `parent`:
//!   what came by a fork unseen
//! - [`memory`]: where the resident memory lies
//! - [`identity`]: which process it is, for good; `script`: what an interpreter
//!   runs
//! - [`take`]: copies what there is of a target; [`build`]: puts it together

mod activity;
pub mod build;
pub mod closes;
pub mod collect;
pub mod descriptors;
pub mod facts;
pub mod file;
pub mod heap;
pub mod identity;
pub mod kinds;
pub mod look;
pub mod memory;
mod notes;
mod parent;
mod script;
pub mod sites;
pub mod take;
pub mod things;

pub use build::Snapshot;
pub use closes::BadClose;
pub use descriptors::Descriptor;
pub use facts::{Facts, FdFact, SocketFact};
pub use identity::Identity;
pub use memory::MemoryFact;
pub use sites::{Live, Site, Sites, Stats};
pub use take::{Taken, of_target, of_target_in, take};
pub use things::{Thing, ThingState};
