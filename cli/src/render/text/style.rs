//! The few colours, and what each means.

use anstyle::{AnsiColor, Style};

use crate::model::Verdict;

/// Names of processes and findings
pub const STRONG: Style = Style::new().bold();
/// What is there for completeness
pub const FAINT: Style = Style::new().dimmed();
/// What to type
pub const COMMAND: Style = AnsiColor::Cyan.on_default();
/// All is well
pub const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default().bold();
const OPEN: Style = AnsiColor::Blue.on_default();

/// How a verdict looks.
pub fn of(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Leak => BAD,
        Verdict::Growing | Verdict::Suspect => DOUBTFUL,
        Verdict::Early => OPEN,
        Verdict::Held => FAINT,
    }
}

/// How the outcome of a check looks.
pub fn outcome(outcome: crate::model::Outcome) -> Style {
    use crate::model::Outcome::{Blocked, Limited, Note, Ok};
    match outcome {
        Blocked => BAD,
        Limited => DOUBTFUL,
        Ok => GOOD,
        Note => OPEN,
    }
}

/// The text in that style.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}
