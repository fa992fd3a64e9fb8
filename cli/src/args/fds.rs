//! `memguard fds`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::common::All;
use super::{OutputArgs, SelectArgs, parse_span};
use crate::kernel::State;

/// How to order descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FdSort {
    /// By number
    Fd,
    /// Oldest first
    Age,
    /// Longest without data first
    Idle,
    /// By kind, then number
    Kind,
    /// By the function that created them
    Creator,
}

/// Options of `memguard fds`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memguard fds 4312                             every descriptor of pid 4312\n  \
    memguard fds server --kind sockets --state close_wait\n  \
    memguard fds server --idle 10m --sort idle    not used for ten minutes or more\n  \
    memguard fds server --creator open_log        by the function that made them"
)]
pub struct FdsArgs {
    /// A pid, a process name, or a snapshot file
    #[arg(value_name = "TARGET")]
    pub target: OsString,
    /// Which descriptors are wanted
    #[command(flatten)]
    pub select: SelectArgs,
    /// Only these numbers (comma-separated)
    #[arg(long, value_delimiter = ',', value_name = "N")]
    pub fd: Vec<i32>,
    /// Only sockets in this state, say close_wait
    #[arg(long, value_parser = parse_state, value_name = "STATE")]
    pub state: Option<String>,
    /// Only connected TCP sockets without data for at least this long (of others it is not known)
    #[arg(long, value_parser = parse_span, value_name = "SPAN")]
    pub idle: Option<Duration>,
    /// Only those whose path, address or peer contains this text
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Only those created by a function whose name contains this text
    #[arg(long, value_name = "TEXT")]
    pub creator: Option<String>,
    /// Order of the rows
    #[arg(long, value_enum, default_value_t = FdSort::Fd, value_name = "BY")]
    pub sort: FdSort,
    /// Do not look up function names and lines
    #[arg(long)]
    pub no_symbols: bool,
    /// Where and how to write
    #[command(flatten)]
    pub output: OutputArgs<All>,
}

/// A state by its name, however that is written: `close_wait`, `FIN-WAIT-1`.
fn parse_state(text: &str) -> Result<String, String> {
    let plain = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
    let names = (1..=13)
        .filter(|number| *number != 12)
        .filter_map(State::from_number)
        .map(State::name);
    let names: Vec<&str> = names.collect();
    let found = names.iter().find(|name| plain(name) == plain(text));
    found.map(|name| (*name).to_owned()).ok_or_else(|| {
        format!(
            "no socket is in a state of that name; there are {}",
            names.join(", ").to_lowercase()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_known_however_it_is_written() {
        for (text, name) in [
            ("close_wait", "CLOSE_WAIT"),
            ("CLOSE-WAIT", "CLOSE_WAIT"),
            ("FIN-WAIT-1", "FIN_WAIT1"),
            ("listen", "LISTEN"),
        ] {
            assert_eq!(parse_state(text).as_deref(), Ok(name), "{text}");
        }
        let said = parse_state("closed_wait").unwrap_err();
        assert!(said.contains("close_wait"), "{said}");
    }
}
