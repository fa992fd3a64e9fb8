//! `memguard report`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::common::All;
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

/// What is known to be fine.
#[derive(Debug, Clone, Default, Args)]
pub struct RulesArgs {
    /// Rules of this file, in place of memguard.toml in the current folder, the user's or the system's
    #[arg(
        long,
        env = "MEMGUARD_CONFIG",
        value_parser = OsStringValueParser::new().map(PathBuf::from),
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub config: Option<PathBuf>,
    /// Hide heap findings by a suppression file of LeakSanitizer (may be given several times)
    #[arg(long, value_name = "FILE")]
    pub suppressions: Vec<PathBuf>,
    /// Apply no rules at all
    #[arg(long, conflicts_with = "suppressions")]
    pub no_rules: bool,
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
    memguard report server --for 60s             watch it for a minute first\n  \
    memguard report --tree 4312                  a server and its workers, the same site as one finding\n  \
    memguard snapshot server -o before.mg        then, an hour later:\n  \
    memguard report server --since before.mg     only what came since and stayed\n  \
    memguard report server --gen-suppressions >> memguard.toml   hide from now on what is found"
)]
pub struct ReportArgs {
    /// Pids, process names, or snapshot files; what several hold of one site is one finding
    #[arg(value_name = "TARGET", required_unless_present = "tree", num_args = 1..)]
    pub targets: Vec<OsString>,
    /// A process and all its descendants that have the library in them
    #[arg(long, value_name = "PID", conflicts_with = "targets")]
    pub tree: Option<i32>,
    /// Watch for this long first
    #[arg(long = "for", value_parser = parse_span, value_name = "SPAN")]
    pub watch: Option<Duration>,
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
    /// What is known to be fine
    #[command(flatten)]
    pub rules: RulesArgs,
    /// Print rules that hide the findings shown, to paste into memguard.toml
    #[arg(long)]
    pub gen_suppressions: bool,
    /// Where and how to write
    #[command(flatten)]
    pub output: OutputArgs<All>,
}
