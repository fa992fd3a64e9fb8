//! `memguard mode`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::{Mode, parse_span};

/// Options of `memguard mode`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memguard mode 4312 deep --for 15m   record every allocation, for a quarter of an hour\n  \
    memguard mode server light          back to sampling"
)]
pub struct ModeArgs {
    /// A pid or a process name
    #[arg(value_name = "TARGET")]
    pub target: OsString,
    /// What to record from now on
    #[arg(value_enum)]
    pub mode: Mode,
    /// Go back to the mode before after this long
    #[arg(long = "for", value_parser = parse_span, value_name = "SPAN")]
    pub duration: Option<Duration>,
}
