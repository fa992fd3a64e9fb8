//! `memguard snapshot`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// Options of `memguard snapshot`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memguard snapshot server -o server.mg     all that is known about it, in one file\n  \
    memguard report server.mg                 read it later, or on another machine\n  \
    memguard report server --since server.mg  what came since and stayed"
)]
pub struct SnapshotArgs {
    /// A pid, a process name, or a snapshot file
    #[arg(value_name = "TARGET")]
    pub target: OsString,
    /// The file to write, - for standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
}
