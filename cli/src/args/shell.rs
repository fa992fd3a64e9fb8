//! `memguard completions` and the hidden `memguard man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// Options of `memguard completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memguard completions bash > /etc/bash_completion.d/memguard\n  \
    memguard completions zsh > ~/.zfunc/_memguard\n  \
    memguard completions fish > ~/.config/fish/completions/memguard.fish"
)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Options of `memguard man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder to write memguard.1, memguard-run.1 and so on into
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}
