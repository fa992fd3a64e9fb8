//! `memguard list`.

use clap::{Args, ValueEnum};

use super::OutputArgs;
use super::common::Tables;

/// How to order the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListSort {
    /// Worst verdict first
    Verdict,
    /// By pid
    Pid,
    /// By name
    Name,
    /// Most resident memory first
    Rss,
    /// Most live heap first
    Heap,
    /// Most descriptors first
    Fds,
}

/// Options of `memguard list`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memguard list                    every process being watched\n  \
    memguard list --sort rss         biggest first\n  memguard list --all              those that ended long ago, too\n  memguard list --format json"
)]
pub struct ListArgs {
    /// Order of the processes
    #[arg(long, value_enum, default_value_t = ListSort::Verdict, value_name = "BY")]
    pub sort: ListSort,
    /// All that have ended, not the latest alone
    #[arg(long)]
    pub all: bool,
    /// Where and how to write
    #[command(flatten)]
    pub output: OutputArgs<Tables>,
}
