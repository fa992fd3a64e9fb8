//! `memguard`: parses the command line, runs the verb, turns its outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use memguard::args::Cli;
use memguard::commands;
use memguard::error::{Error, OutputError, own_failure};
use memguard::{file_limit, memory_limit};

#[global_allocator]
static MEMORY: memory_limit::OrEnd = memory_limit::OrEnd;

fn main() -> ExitCode {
    file_limit::bear();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version also come this way.
            let code = own_failure(usage.exit_code(), std::env::args_os());
            return match usage.print() {
                Err(why) if code == 0 => {
                    finish(&Error::from(OutputError::Screen(why)).into(), false)
                }
                _ => ExitCode::from(code),
            };
        }
    };
    let wrapper = cli.command.is_run();
    if wrapper {
        memory_limit::wraps();
    }
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
