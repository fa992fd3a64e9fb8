//! Flags that several verbs share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How to write the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// Stable and versioned, for programs
    Json,
    /// One line per call stack, for flame graphs
    Folded,
    /// One row per finding, for spreadsheets
    Csv,
}

/// The least verdict that makes the exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Worth {
    /// Leaks only
    Leak,
    /// What hardly ever shrinks as well
    Growing,
    /// Suspects as well
    Suspect,
}

/// Where the result goes and how it looks.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// How to write the result
    #[arg(long, short = 'f', value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Write to FILE instead of the screen, - for standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}
