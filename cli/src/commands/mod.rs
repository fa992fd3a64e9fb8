//! One verb a file; this one picks.

mod common;
mod completions;
mod doctor;
mod fds;
mod fix;
mod helping;
mod judge;
mod label;
mod learn;
mod list;
mod mode;
mod names;
mod observe;
mod progress;
mod report;
mod rules;
mod run;
mod snapshot;
mod undo;

use std::process::ExitCode;

use crate::args::{Cli, Color, Command};
use crate::attach::name::check_folder;
use crate::descriptor_limit;
use crate::error::Error;
use crate::state::folder::check_place;

/// Runs the verb.
///
/// # Errors
/// Whatever stopped it, as a sentence with its exit code.
pub fn dispatch(cli: Cli) -> Result<ExitCode, Error> {
    choose_color(cli.color);
    if cli.command.uses_records() {
        check_folder()?;
        check_place()?;
    }
    if cli.command.looks() {
        descriptor_limit::check()?;
    }
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::List(args) => list::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Fds(args) => fds::run(&args),
        Command::Fix(args) => fix::run(&args),
        Command::Undo(args) => undo::run(&args),
        Command::Snapshot(args) => snapshot::run(&args),
        Command::Mode(args) => mode::run(&args),
        Command::Label(args) => label::run(&args),
        Command::Learn(args) => learn::run(&args),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
        Command::Doctor(args) => doctor::run(&args),
    }
}

/// `auto` leaves it to the terminal, NO_COLOR and CLICOLOR_FORCE.
fn choose_color(color: Color) {
    match color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
}
