//! `memguard doctor`.

use std::ffi::OsString;

use clap::Args;

use super::OutputArgs;

/// Options of `memguard doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memguard doctor 4312            a running process\n  \
    memguard doctor /usr/bin/caddy  a program not started yet"
)]
pub struct DoctorArgs {
    /// A pid, a process name, or a command
    #[arg(value_name = "PID|COMMAND")]
    pub target: OsString,
    /// Where and how to write
    #[command(flatten)]
    pub output: OutputArgs,
}
