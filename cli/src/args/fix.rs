//! `memguard fix`.

use std::time::Duration;

use clap::Args;

use super::time::parse_span;
use super::{OutputArgs, RulesArgs, SelectArgs};

/// Items a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// At most so many
    PerSecond(u32),
    /// As fast as it goes
    Unlimited,
}

/// Options of `memguard fix`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memguard fix 4312 --dry-run                  the plan, with every condition\n  \
    memguard fix server --kind sockets           asks once, then a canary, a tenth, all\n  \
    memguard fix server sockets-1f2e3d4c5b6a7988 --max 10 --yes\n  \
    memguard fix server --kind caches --dry-run  ways to give memory back, with the pause that each may cost\n  \
    memguard fix server --raise-limit --yes      more descriptors, as many as it may have\n\n\
    Only findings with the verdict `leak` are acted on. A socket's owner is shown an end of file and closes \
    it itself; a timer is stopped and can be set back with `memguard undo`, as a parked file can; with \
    `--close-lost`, what nothing in the program holds the number of any more is closed by the program, once two \
    searches of its memory and registers agree.\n\n\
    `--kind caches` is apart: it gives back what the allocator has free, and asks caches that the program has \
    registered (memguard.h) to shrink to their limit in memguard.toml. It is done only where it is named.\n\n\
    Never touched, whatever the verdict: listening sockets, descriptors 0 to 2, inherited ones, those with a second \
    owner, those that a thread waits on, that are locked or were passed on, eventfds, epolls, ports and processes of \
    infrastructure. `[protect]` and `[fix.KIND]` of memguard.toml say more (docs/RULES.md).\n\n\
    Exit code: 0 fixed, or nothing to fix, or only planned; 2 wrong usage or configuration, or nobody to say yes; \
    3 no such process, or not permitted; 4 its record cannot be read; 5 every object was refused, or it was \
    stopped (harm, or the program ended, stands still or became another), or the log of what is done cannot be \
    written (then nothing more is done), or the limit could not be raised."
)]
pub struct FixArgs {
    /// A pid or a process name
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// Only these findings, by the id that a report shows
    #[arg(value_name = "FINDING")]
    pub findings: Vec<String>,
    /// Which findings are wanted
    #[command(flatten)]
    pub select: SelectArgs,
    /// What is fine and not to be touched
    #[command(flatten)]
    pub rules: RulesArgs,
    /// Show the plan and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Touch at most this many objects, of those that pass every gate
    #[arg(long, value_name = "N", value_parser = parse_most)]
    pub max: Option<usize>,
    /// Also raise the limit on descriptors as far as the program may have it, unless it uses select
    #[arg(long)]
    pub raise_limit: bool,
    /// Also have the program close what it has lost: no memory and no register holds the number. A program that keeps numbers
    /// as bits of a set, or as places in a table, must not be fixed so
    #[arg(long)]
    pub close_lost: bool,
    /// Also park unused files, and close those that stayed parked for a quarantine
    #[arg(long)]
    pub retire: bool,
    /// How long a parked file waits to be touched, before a later run with --retire closes it [default: 10m]
    #[arg(long, value_parser = parse_span, value_name = "SPAN")]
    pub quarantine: Option<Duration>,
    /// Objects a second, or `unlimited`
    #[arg(long, default_value = "200", value_parser = parse_rate, value_name = "N")]
    pub rate: Rate,
    /// Protect this port as well, local or remote (repeatable)
    #[arg(long, value_name = "PORT")]
    pub protect_port: Vec<u16>,
    /// Do not protect this port (repeatable)
    #[arg(long, value_name = "PORT")]
    pub allow_port: Vec<u16>,
    /// Where and how to write
    #[command(flatten)]
    pub output: OutputArgs,
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    match text.parse() {
        _ if text == "unlimited" => Ok(Rate::Unlimited),
        Ok(n) if n > 0 => Ok(Rate::PerSecond(n)),
        _ => Err("give a whole number above 0, or `unlimited`".to_owned()),
    }
}

fn parse_most(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("give a whole number above 0; --dry-run is for touching nothing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_or_unlimited() {
        assert_eq!(parse_rate("unlimited"), Ok(Rate::Unlimited));
        assert_eq!(parse_rate("7"), Ok(Rate::PerSecond(7)));
        assert!(parse_rate("0").is_err() && parse_rate("fast").is_err());
    }

    #[test]
    fn none_at_most_is_said_otherwise() {
        assert_eq!(parse_most("3"), Ok(3));
        assert!(parse_most("0").unwrap_err().contains("--dry-run"));
        assert!(parse_most("-1").is_err());
    }
}
