//! What outlives one look: earlier looks at a process, what its program's
//! earlier runs taught, and what people said of findings.
//!
//! - [`folder`]: where that is kept, and how nothing is lost there
//! - [`sealed`]: a file's first line: what it is, its version, its checksum
//! - [`process`]: what is known of one process; [`sharpen`]: two looks compared
//! - [`program`]: what the runs of one build taught; [`peaks`]: maxima that are
//!   forgotten; [`closed`]: which lives the program itself ended
//! - [`labels`]: a person's word
//! - [`audit`]: every action on a process; [`pending`]: which of them can be taken
//!   back; [`helped`]: what they ended
//! - [`recall`]: puts these together for one look
//!
//! Nothing here is needed for a report: whatever fails becomes one note.

pub mod audit;
pub mod closed;
pub mod error;
pub mod folder;
pub mod helped;
pub mod hung_up;
pub mod labels;
pub mod peaks;
pub mod pending;
pub mod process;
pub mod program;
pub mod recall;
pub mod sealed;
pub mod sharpen;
mod shelf;
#[cfg(test)]
mod tests;

pub use error::StateError;
pub use folder::Folder;
pub use recall::{Known, State};
pub use sharpen::Earlier;
