//! `memguard learn`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OutputArgs;

/// Options of `memguard learn`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Examples:\n  memguard learn show                    every program that something is known of\n  \
    memguard learn show server             one of them, site by site\n  \
    memguard learn reset ./server          forget what was learned of this build\n  \
    memguard learn export -o learned.json  all of it, to take it elsewhere\n  \
    memguard learn import learned.json     of each site the more careful is kept"
)]
pub struct LearnArgs {
    /// What to do
    #[command(subcommand)]
    pub action: LearnAction,
}

/// What one can do with what was learned.
#[derive(Debug, Subcommand)]
pub enum LearnAction {
    /// Show what earlier runs taught
    Show(LearnShowArgs),
    /// Forget what earlier runs taught
    Reset(LearnResetArgs),
    /// Write it to a file that `import` reads
    Export(LearnExportArgs),
    /// Take in what was learned elsewhere
    Import(LearnImportArgs),
}

/// What to show.
#[derive(Debug, Args)]
pub struct LearnShowArgs {
    /// A program's name, an executable, a pid, or a snapshot file; all programs without
    #[arg(value_name = "PROGRAM")]
    pub program: Option<String>,
    /// Where and how to write
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What to forget.
#[derive(Debug, Args)]
pub struct LearnResetArgs {
    /// A program's name, an executable, a pid, or a snapshot file
    #[arg(
        value_name = "PROGRAM",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub program: Option<String>,
    /// All programs; labels stay
    #[arg(long)]
    pub all: bool,
}

/// What to export.
#[derive(Debug, Args)]
pub struct LearnExportArgs {
    /// A program's name, an executable, a pid, or a snapshot file; all programs and labels without
    #[arg(value_name = "PROGRAM")]
    pub program: Option<String>,
    /// Write to FILE instead of the screen
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What to import.
#[derive(Debug, Args)]
pub struct LearnImportArgs {
    /// A file that `memguard learn export` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}
