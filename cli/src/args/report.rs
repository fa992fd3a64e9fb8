//! `memguard report`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Kind, OutputArgs, Worth, parse_span};

/// Which findings are wanted.
#[derive(Debug, Clone, Default, Args)]
pub struct SelectArgs {
    /// Only these kinds (comma-separated)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    pub kind: Vec<Kind>,
    /// Count only what is older than this, in place of the built-in floors
    #[arg(long, value_parser = parse_span, value_name = "SPAN")]
    pub min_age: Option<Duration>,
}

/// How to order findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FindingSort {
    /// Worst first
    Verdict,
    /// Most bytes first
    Bytes,
    /// Most objects first
    Count,
    /// Fastest growing first
    Rate,
}

/// Options of `memguard report`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memguard report 4312                         what pid 4312 holds and leaks\n  \
    memguard report server --kind sockets        only its sockets\n  \
    memguard report server --format json -o r.json\n  \
    memguard snapshot server -o before.mg        then, an hour later:\n  \
    memguard report server --since before.mg     only what came since and stayed"
)]
pub struct ReportArgs {
    /// A pid, a process name, or a snapshot file
    #[arg(value_name = "TARGET")]
    pub target: OsString,
    /// Which findings are wanted
    #[command(flatten)]
    pub select: SelectArgs,
    /// Only what was created after this snapshot and is still held
    #[arg(long, value_name = "SNAPSHOT")]
    pub since: Option<PathBuf>,
    /// Order of the findings
    #[arg(long, value_enum, default_value_t = FindingSort::Verdict, value_name = "BY")]
    pub sort: FindingSort,
    /// Show every finding in full, small and early ones too
    #[arg(long, short)]
    pub all: bool,
    /// Exit with 1 when there is a finding of this verdict or worse
    #[arg(long, value_enum, value_name = "VERDICT")]
    pub fail_on: Option<Worth>,
    /// Do not look up function names and lines
    #[arg(long)]
    pub no_symbols: bool,
    /// Where and how to write
    #[command(flatten)]
    pub output: OutputArgs,
}
