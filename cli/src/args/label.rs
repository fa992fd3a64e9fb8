//! `memguard label`.

use clap::{Args, Subcommand};

use super::common::Plain;
use super::{Format, Offers};

/// Options of `memguard label`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Examples:\n  memguard label ok sockets-0b9fe07c6da6fc8b          it is meant to be held: never report it again\n  \
    memguard label leak files-6da6fc8b0b9fe07c server   it is a leak, in this build of server\n  \
    memguard label clear sockets-0b9fe07c6da6fc8b       let the statistics decide again\n  \
    memguard label list\n\n\
    `memguard report` shows the id of each finding. It stays the same as long as the program is not built anew."
)]
pub struct LabelArgs {
    /// What to do
    #[command(subcommand)]
    pub action: LabelAction,
}

/// What one can say of a finding.
#[derive(Debug, Subcommand)]
pub enum LabelAction {
    /// It is meant to be held: reports leave it out
    Ok(LabelledArgs),
    /// It is a leak, whatever the statistics say
    Leak(LabelledArgs),
    /// Take back what was said
    Clear(LabelledArgs),
    /// Show what was said
    List(LabelListArgs),
}

/// Which finding.
#[derive(Debug, Args)]
pub struct LabelledArgs {
    /// The finding, as reports name it
    #[arg(value_name = "FINDING")]
    pub finding: String,
    /// Only in this build of a program (a pid, a process name, a snapshot, or an executable); `leak` without it holds
    /// for the one program of which a report told that finding, the others for all
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
}

/// How to show labels.
#[derive(Debug, Args)]
pub struct LabelListArgs {
    /// How to write the result
    #[arg(long, short = 'f', value_parser = Plain::parser(), default_value = "text")]
    pub format: Format,
}
