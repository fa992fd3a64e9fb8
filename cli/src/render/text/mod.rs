//! For people: the first screen answers is there a leak, where, how sure, how
//! long until it hurts, and what to type next.

mod caches;
mod closes;
mod doctor;
mod fds;
mod finding;
mod fix;
mod learned;
mod list;
mod next;
mod report;
mod style;
mod sums;
mod table;
mod undo;
mod wrap;
mod young;

use super::{Layout, Render};
use crate::error::OutputError;
use crate::model::{Doctor, Fds, FixReport, Labels, Learned, List, Report, Undo};

/// Columns of the narrowest screen that is heeded.
const NARROWEST: usize = 40;

/// The text writer. It always colours; whoever prints it takes colours out
/// where they are not wanted.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    layout: Layout,
}

impl Text {
    /// For a screen of that width, if it is not too narrow to show anything.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self {
            layout: Layout {
                width: layout.width.max(NARROWEST),
                ..layout
            },
        }
    }
}

impl Render for Text {
    fn report(&self, report: &Report) -> Result<String, OutputError> {
        let mut out = String::new();
        report::write(&mut out, report, self.layout);
        for child in &report.children {
            out.push('\n');
            report::write(&mut out, child, self.layout);
        }
        Ok(out)
    }

    fn list(&self, list: &List) -> Result<String, OutputError> {
        Ok(list::text(list, self.layout))
    }

    fn fds(&self, fds: &Fds) -> Result<String, OutputError> {
        Ok(fds::text(fds, self.layout))
    }

    fn fix(&self, fix: &FixReport) -> Result<String, OutputError> {
        Ok(fix::text(fix, self.layout))
    }

    fn undo(&self, undo: &Undo) -> Result<String, OutputError> {
        Ok(undo::text(undo, self.layout))
    }

    fn doctor(&self, doctor: &Doctor) -> Result<String, OutputError> {
        Ok(doctor::text(doctor, self.layout))
    }

    fn learned(&self, learned: &Learned) -> Result<String, OutputError> {
        Ok(learned::programs(learned, self.layout))
    }

    fn labels(&self, labels: &Labels) -> Result<String, OutputError> {
        Ok(learned::labels(labels, self.layout))
    }
}
