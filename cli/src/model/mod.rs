//! The stable JSON shapes: what `--format json` writes and every other
//! renderer reads. Fields are added, never changed; what is unknown is null.

mod cache;
mod doctor;
mod fds;
mod fix;
mod kind;
mod learned;
mod list;
mod memory;
mod merge;
mod process;
mod report;
mod took;
mod undo;

pub use cache::Cache;
pub use doctor::{Doctor, DoctorCheck, Outcome};
pub use fds::{FdRow, Fds};
pub use fix::{FixCache, FixGate, FixItem, FixLimit, FixMeans, FixOutcome, FixReport, FixSearch};
pub use kind::Kind;
pub use learned::{Labelled, Labels, Learned, LearnedProgram, LearnedSite};
pub use list::{List, ListRow};
pub use memory::{Memory, MemoryPart, PartName};
pub use merge::merge;
pub use process::{Mode, Policy, Process};
pub use report::{
    BadClose, Coverage, Finding, Fix, Frame, Health, HealthPart, HeapCoverage, Held, Lifetimes,
    Overhead, Report, Resource, Share, Stays, SuppressedRule, Survivors, TimerState, Totals,
    Verdict,
};
pub use took::{FixStep, FixTook, milliseconds};
pub use undo::{Undo, UndoItem};
