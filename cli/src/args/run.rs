//! `memguard run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::{Format, Mode, RulesArgs, SelectArgs, Worth};

/// Options of `memguard run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memguard run -- ./server --port 80          run it; say at its end what it still held\n  \
    memguard run --mode deep -- ./batch          record every allocation, not a sample\n  \
    memguard run --no-report -- ./server         watch only; use `memguard report` while it runs\n  \
    memguard run --fail-on leak -- ./tests       exit with 1 if the tests pass but leak\n\n\
    Every signal that memguard gets is passed on to the program. One that is sent to the whole process group from \
    outside (kill -- -PGID, timeout, a service manager that signals every process) reaches the program twice: once by \
    itself and once from memguard, which cannot tell. Send it to memguard alone (systemd: KillMode=mixed)."
)]
pub struct RunArgs {
    /// What to record (light samples, deep records every allocation)
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Say nothing at the end
    #[arg(long, conflicts_with_all = ["output", "fail_on"])]
    pub no_report: bool,
    /// Write the report to FILE instead of standard error, - for standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How to write the report
    #[arg(long, short = 'f', value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Which findings are wanted
    #[command(flatten)]
    pub select: SelectArgs,
    /// What is known to be fine
    #[command(flatten)]
    pub rules: RulesArgs,
    /// Exit with 1 when the program succeeds but has a finding of this verdict or worse
    #[arg(long, value_enum, value_name = "VERDICT")]
    pub fail_on: Option<Worth>,
    /// Keep the records, so that `memguard report PID` works after the end
    #[arg(long)]
    pub keep: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}
