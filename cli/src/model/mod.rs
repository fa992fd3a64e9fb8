//! The stable JSON shapes: what `--format json` writes and every other
//! renderer reads. Fields are added, never changed; what is unknown is null.

mod doctor;
mod fds;
mod fix;
mod kind;
mod list;
mod process;
mod report;

pub use doctor::{Doctor, DoctorCheck, Outcome};
pub use fds::{FdRow, Fds};
pub use fix::{FixGate, FixItem, FixOutcome, FixReport};
pub use kind::Kind;
pub use list::{List, ListRow};
pub use process::{Mode, Policy, Process};
pub use report::{
    Coverage, Finding, Fix, Frame, Health, HeapCoverage, Held, Lifetimes, Overhead, Report,
    Resource, SuppressedRule, Totals, Verdict,
};
