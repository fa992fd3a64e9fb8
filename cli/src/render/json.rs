//! JSON, as the model has it.

use serde::Serialize;

use super::Render;
use crate::error::OutputError;
use crate::model::{Doctor, Fds, FixReport, Labels, Learned, List, Report, Undo};

/// The JSON writer.
#[derive(Debug, Clone, Copy)]
pub struct Json;

impl Render for Json {
    fn report(&self, report: &Report) -> Result<String, OutputError> {
        pretty(report)
    }

    fn list(&self, list: &List) -> Result<String, OutputError> {
        pretty(list)
    }

    fn fds(&self, fds: &Fds) -> Result<String, OutputError> {
        pretty(fds)
    }

    fn fix(&self, fix: &FixReport) -> Result<String, OutputError> {
        pretty(fix)
    }

    fn undo(&self, undo: &Undo) -> Result<String, OutputError> {
        pretty(undo)
    }

    fn doctor(&self, doctor: &Doctor) -> Result<String, OutputError> {
        pretty(doctor)
    }

    fn learned(&self, learned: &Learned) -> Result<String, OutputError> {
        pretty(learned)
    }

    fn labels(&self, labels: &Labels) -> Result<String, OutputError> {
        pretty(labels)
    }
}

fn pretty(document: &impl Serialize) -> Result<String, OutputError> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| OutputError::Screen(error.into()))?;
    Ok(text + "\n")
}
