//! One writer a format, all behind [`Render`].

mod csv;
mod folded;
mod json;
pub mod safe;
mod text;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use samples::report as sample_report;

use std::fmt::Write as _;

use crate::args::Format;
use crate::error::OutputError;
use crate::model::{Doctor, Fds, FixReport, Labels, Learned, List, Report, Undo};

pub use csv::Csv;
pub use folded::Folded;
pub use json::Json;
pub use text::Text;

/// How text is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Columns
    pub width: usize,
    /// Every finding in full
    pub all: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            width: 100,
            all: false,
        }
    }
}

/// A writer of one format. What a format has no shape for, it refuses.
pub trait Render {
    /// A report
    fn report(&self, report: &Report) -> Result<String, OutputError>;
    /// A list of processes
    fn list(&self, list: &List) -> Result<String, OutputError>;
    /// A list of descriptors
    fn fds(&self, fds: &Fds) -> Result<String, OutputError>;
    /// A plan, or what came of it
    fn fix(&self, fix: &FixReport) -> Result<String, OutputError>;
    /// What can be set back, or was
    fn undo(&self, undo: &Undo) -> Result<String, OutputError>;
    /// What can be seen of a program
    fn doctor(&self, doctor: &Doctor) -> Result<String, OutputError>;
    /// What earlier runs taught
    fn learned(&self, learned: &Learned) -> Result<String, OutputError>;
    /// What people said of findings
    fn labels(&self, labels: &Labels) -> Result<String, OutputError>;
}

/// The writer of a format.
#[must_use]
pub fn renderer(format: Format, layout: Layout) -> Box<dyn Render> {
    match format {
        Format::Text => Box::new(Text::new(layout)),
        Format::Json => Box::new(Json),
        Format::Folded => Box::new(Folded),
        Format::Csv => Box::new(Csv),
    }
}

/// Appends a line to a string.
pub(crate) fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = out.write_fmt(text);
    out.push('\n');
}
