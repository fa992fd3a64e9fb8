//! `memguard completions` and `memguard man`: both from the flag definitions.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::error::{Error, OutputError};

/// Prints the script that completes memguard's own command line.
pub fn completions(args: &CompletionsArgs) -> Result<ExitCode, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "memguard", &mut script);
    io::stdout()
        .write_all(&script)
        .map_err(OutputError::Screen)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes `memguard.1` and one page a visible verb.
pub fn man(args: &ManArgs) -> Result<ExitCode, Error> {
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    std::fs::create_dir_all(&args.folder).map_err(|source| file_error(&args.folder, source))?;
    write_page(&args.folder, "memguard", all.clone())?;
    for verb in all.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write_page(
            &args.folder,
            &format!("memguard-{}", verb.get_name()),
            verb.clone(),
        )?;
        for part in verb
            .get_subcommands()
            .filter(|part| part.get_name() != "help")
        {
            let name = format!("memguard-{}-{}", verb.get_name(), part.get_name());
            write_page(&args.folder, &name, part.clone())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write_page(folder: &Path, name: &str, command: Command) -> Result<(), Error> {
    let mut page = Vec::new();
    let path = folder.join(format!("{name}.1"));
    let man = clap_mangen::Man::new(command.display_name(name))
        .title(name)
        .section("1");
    man.render(&mut page)
        .map_err(|source| file_error(&path, source))?;
    std::fs::write(&path, page).map_err(|source| file_error(&path, source))
}

fn file_error(path: &Path, source: io::Error) -> Error {
    OutputError::File {
        path: path.to_owned(),
        source,
    }
    .into()
}
