//! From what a person names (a pid, a process, a file) to the bytes of a
//! segment.
//!
//! - [`name`]: how segment files are called; [`records`]: those in the folder;
//!   [`prune`] clears some of them away
//! - [`process`]: who a pid is; [`maps`]: where it has its segment mapped
//! - [`read`]: copies a segment, by its file or out of the process
//! - [`live`]: the segment of a running process; [`former`]: the record of what
//!   it was before exec
//! - [`target`]: puts these together
//! - [`write`]: the few words written from outside

pub mod former;
pub mod live;
pub mod maps;
pub mod name;
pub mod process;
pub mod prune;
pub mod read;
pub mod records;
pub mod target;
pub mod write;

pub use live::LiveSegment;
pub use name::SegmentName;
pub use process::Running;
pub use read::Segment;
pub use records::Record;
pub use target::{Target, resolve};
