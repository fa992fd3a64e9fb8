//! `memguard snapshot`.

use std::process::ExitCode;

use crate::args::SnapshotArgs;
use crate::attach::resolve;
use crate::error::Error;
use crate::snapshot::{file, take};

/// Runs the verb.
pub fn run(args: &SnapshotArgs) -> Result<ExitCode, Error> {
    let taken = take(resolve(&args.target)?)?;
    file::write(&args.output, &taken.facts, &taken.segment)?;
    Ok(ExitCode::SUCCESS)
}
