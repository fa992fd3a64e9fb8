//! Folded stacks: one line a call stack, outermost call first, then its
//! weight, as flame graph tools take it.

use super::safe::safe;
use super::{Render, line};
use crate::error::OutputError;
use crate::model::{Doctor, Fds, Finding, FixReport, Frame, Labels, Learned, List, Report, Undo};

/// The folded writer.
#[derive(Debug, Clone, Copy)]
pub struct Folded;

impl Render for Folded {
    fn report(&self, report: &Report) -> Result<String, OutputError> {
        let mut out = String::new();
        for finding in report
            .findings
            .iter()
            .chain(report.children.iter().flat_map(|child| &child.findings))
        {
            let stack: Vec<String> = finding.stack.iter().rev().map(name).collect();
            line(
                &mut out,
                format_args!(
                    "{};{} {}",
                    finding.kind.name(),
                    stack.join(";"),
                    weight(finding)
                ),
            );
        }
        Ok(out)
    }

    fn list(&self, _: &List) -> Result<String, OutputError> {
        Err(refused("list", "text, json or csv"))
    }

    fn fds(&self, fds: &Fds) -> Result<String, OutputError> {
        let mut out = String::new();
        for row in &fds.descriptors {
            let stack: Vec<String> = row.stack.iter().rev().map(name).collect();
            line(&mut out, format_args!("{};{} 1", row.what, stack.join(";")));
        }
        Ok(out)
    }

    fn fix(&self, _: &FixReport) -> Result<String, OutputError> {
        Err(refused("fix", "text or json"))
    }

    fn undo(&self, _: &Undo) -> Result<String, OutputError> {
        Err(refused("undo", "text or json"))
    }

    fn doctor(&self, _: &Doctor) -> Result<String, OutputError> {
        Err(refused("doctor", "text or json"))
    }

    fn learned(&self, _: &Learned) -> Result<String, OutputError> {
        Err(refused("learn", "text or json"))
    }

    fn labels(&self, _: &Labels) -> Result<String, OutputError> {
        Err(refused("label", "text or json"))
    }
}

fn refused(verb: &'static str, instead: &'static str) -> OutputError {
    OutputError::NoSuchFormat {
        format: "folded",
        verb,
        instead,
    }
}

/// Bytes where there are any, else how many.
fn weight(finding: &Finding) -> u64 {
    finding.bytes.unwrap_or(finding.count)
}

/// A semicolon would split the frame, a line end the line.
fn name(frame: &Frame) -> String {
    let module = frame
        .module
        .as_deref()
        .and_then(|path| path.rsplit('/').next());
    let name = match (&frame.function, module) {
        (Some(function), _) => function.clone(),
        (None, Some(module)) => format!("{module}+{:#x}", frame.offset.unwrap_or(0)),
        (None, None) => format!("{:#x}", frame.offset.unwrap_or(0)),
    };
    safe(&name).replace(';', ":")
}
