//! `memguard`: parses the command line, runs the verb, turns its outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use memguard::args::Cli;
use memguard::commands;
use memguard::error::{Error, own_failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version also come this way; a closed pipe is no failure.
            let _ = usage.print();
            return ExitCode::from(own_failure(usage.exit_code(), std::env::args_os()));
        }
    };
    let wrapper = cli.command.is_run();
    match commands::dispatch(cli).map_err(anyhow::Error::from) {
        Ok(code) => code,
        Err(error) => finish(&error, wrapper),
    }
}

/// Prints what went wrong, unless nobody reads any more, and picks the code.
fn finish(error: &anyhow::Error, wrapper: bool) -> ExitCode {
    let known = error.downcast_ref::<Error>();
    if known.is_some_and(Error::is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    anstream::eprintln!("memguard: {error}");
    let code = known.map_or(4, Error::exit_code);
    // 1 to 124 are the program's.
    let ours = !wrapper || code >= 125;
    ExitCode::from(if ours { code } else { 125 })
}
