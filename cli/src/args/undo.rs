//! `memguard undo`.

use clap::Args;

use super::common::Plain;
use super::{Format, Offers};

/// Options of `memguard undo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  memguard undo                     what can be set back\n  \
    memguard undo 4312                set back what was done to process 4312\n  \
    memguard undo 19d3c2b1d7a-4312.0  set back one action, by its id\n\n\
    Timers that `memguard fix` stopped run again as before, and parked files are back. What their owner closed cannot be opened again.\n\n\
    Exit code: 0 all is set back, or only listed; 2 wrong usage; 5 something could not be set back, or the log of it cannot be written."
)]
pub struct UndoArgs {
    /// A pid, or the id of an action; without it nothing is done but a list
    #[arg(value_name = "PID|ACTION")]
    pub what: Option<String>,
    /// How to write the result
    #[arg(long, short = 'f', value_parser = Plain::parser(), default_value = "text")]
    pub format: Format,
}
