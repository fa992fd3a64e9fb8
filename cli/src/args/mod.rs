//! Every verb and flag. Help, man pages and completions are generated from here.

mod common;
mod doctor;
mod fds;
mod fix;
mod label;
mod learn;
mod list;
mod mode;
mod report;
mod run;
mod shell;
mod snapshot;
mod time;
mod undo;

use clap::{Parser, Subcommand, ValueEnum};

pub use crate::model::{Kind, Mode};
pub use common::{Format, Offers, OutputArgs, Worth};
pub use doctor::DoctorArgs;
pub use fds::{FdSort, FdsArgs};
pub use fix::{FixArgs, Rate};
pub use label::{LabelAction, LabelArgs, LabelListArgs, LabelledArgs};
pub use learn::{
    LearnAction, LearnArgs, LearnExportArgs, LearnImportArgs, LearnResetArgs, LearnShowArgs,
};
pub use list::{ListArgs, ListSort};
pub use mode::ModeArgs;
pub use report::{FindingSort, ReportArgs, RulesArgs, SelectArgs};
pub use run::RunArgs;
pub use shell::{CompletionsArgs, ManArgs};
pub use snapshot::SnapshotArgs;
pub use time::parse_span;
pub use undo::UndoArgs;

/// Finds what a running program forgot to give back: memory, files, sockets.
#[derive(Debug, Parser)]
#[command(
    name = "memguard",
    version,
    about = "Finds what a running program forgot to give back: memory, files, sockets",
    long_about = "memguard finds what a running Linux program forgot to give back: heap blocks, files, \
        sockets, pipes, timers.\n\nStart the program with `memguard run`, or with libmemguard.so in \
        LD_PRELOAD. From then on, and also after it was killed, `memguard report` shows everything it still \
        holds and where that was created.",
    after_help = "Examples:\n  memguard run -- ./server --port 80   start a program and watch it\n  \
        memguard list                        what is being watched\n  \
        memguard report server               what it holds, and what leaks\n  \
        memguard fds server --kind sockets   every socket, with its creator\n\n\
        TARGET is a pid, a process name, or a file that `memguard snapshot` wrote (`-`: standard input).",
    after_long_help = EXIT_CODES,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// When to colour the output
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Said at the end of the long help and of the man page.
const EXIT_CODES: &str = "Examples:\n  memguard run -- ./server --port 80   start a program and watch it\n  \
    memguard list                        what is being watched\n  \
    memguard report server               what it holds, and what leaks\n  \
    memguard fds server --kind sockets   every socket, with its creator\n\n\
    TARGET is a pid, a process name, or a file that `memguard snapshot` wrote (`-`: standard input).\n\n\
    Exit codes:\n  0  fine\n  1  findings, under --fail-on\n  2  wrong usage, or the result cannot be written\n  \
    3  target not found, or not permitted\n  4  the target's record cannot be read\n  \
    5  refused, or not carried out\n\
    `memguard run` exits as its program did (128 + signal if that was killed);\nits own failures are 125, \
    126 (cannot be started) and 127 (not found).";

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always, also into pipes and files
    Always,
    /// Never
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a program under memguard; say at its end what it still held
    Run(RunArgs),
    /// List the processes being watched
    List(ListArgs),
    /// Show what a process still holds, where it came from and what leaks
    Report(ReportArgs),
    /// List every open descriptor with its kind, age, peer and creator
    Fds(FdsArgs),
    /// Give back what leaks, without harm: plan, canary, then all
    Fix(FixArgs),
    /// Set back what a fix stopped, or list what can be set back
    Undo(UndoArgs),
    /// Save all that is known about a process to a file
    Snapshot(SnapshotArgs),
    /// Switch a running process between light, deep and off
    Mode(ModeArgs),
    /// Say of a finding that it is a leak, or that it is none
    Label(LabelArgs),
    /// Show, reset, export or import what earlier runs taught
    Learn(LearnArgs),
    /// Say how much of a program memguard can see, and what to do about the rest
    Doctor(DoctorArgs),
    /// Print a completion script for your shell
    Completions(CompletionsArgs),
    /// Write the manual pages
    #[command(hide = true)]
    Man(ManArgs),
}

impl Command {
    /// Whether it goes to the folder of records.
    #[must_use]
    pub fn uses_records(&self) -> bool {
        !matches!(self, Self::Doctor(_) | Self::Completions(_) | Self::Man(_))
    }

    /// Whether it begins with a look at processes.
    #[must_use]
    pub fn looks(&self) -> bool {
        !matches!(self, Self::Run(_) | Self::Completions(_) | Self::Man(_))
    }

    /// Whether this is the wrapper, whose own failures have codes of their own.
    #[must_use]
    pub fn is_run(&self) -> bool {
        matches!(self, Self::Run(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_visible_verb_shows_examples() {
        for verb in Cli::command()
            .get_subcommands()
            .filter(|verb| !verb.is_hide_set())
        {
            let help = verb
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains("Examples:\n  memguard "),
                "{} has no examples",
                verb.get_name()
            );
        }
    }

    /// A format that only ends in an error is not offered.
    #[test]
    fn each_verb_offers_the_formats_that_it_has() {
        let help = |verb: &str| {
            let line = ["memguard", verb, "--help"];
            let error = Cli::try_parse_from(line).expect_err("help");
            error.to_string()
        };
        for (verb, csv, folded) in [
            ("report", true, true),
            ("fds", true, true),
            ("list", true, false),
            ("fix", false, false),
            ("undo", false, false),
            ("doctor", false, false),
        ] {
            let said = help(verb);
            assert!(said.contains("- json:"), "{verb}: {said}");
            assert_eq!(said.contains("- csv:"), csv, "{verb}: {said}");
            assert_eq!(said.contains("- folded:"), folded, "{verb}: {said}");
        }
        let csv = Cli::try_parse_from(["memguard", "fix", "1", "--format", "csv"]);
        assert!(csv.is_ok(), "it is refused in a sentence later");
    }

    #[test]
    fn run_takes_the_rest_of_the_line_untouched() {
        let cli = Cli::parse_from([
            "memguard", "run", "--mode", "deep", "./app", "--mode", "own", "-o",
        ]);
        let Command::Run(run) = cli.command else {
            panic!("not run")
        };
        assert_eq!(run.command, ["./app", "--mode", "own", "-o"]);
        assert_eq!(run.mode, Some(Mode::Deep));
    }

    #[test]
    fn kinds_come_as_a_list() {
        let cli = Cli::parse_from([
            "memguard",
            "report",
            "1",
            "--kind",
            "sockets,files",
            "--min-age",
            "1m30s",
        ]);
        let Command::Report(report) = cli.command else {
            panic!("not report")
        };
        assert_eq!(report.select.kind, [Kind::Sockets, Kind::Files]);
        assert_eq!(
            report.select.min_age,
            Some(std::time::Duration::from_secs(90))
        );
    }
}
