//! The list of processes for people.

use super::super::Layout;
use super::style::{FAINT, of};
use super::table::{Cell, Column, Cut, elastic, left, right, table};
use super::wrap::wrap;
use crate::model::{List, ListRow};
use crate::render::safe::safe;
use crate::units::{bytes, count, span};

const COLUMNS: [Column; 10] = [
    right("PID"),
    elastic("NAME", Cut::End),
    left("MODE").spare(3),
    right("UP").spare(4),
    right("RSS").spare(2),
    right("LIVE HEAP").spare(5),
    right("FDS").spare(1),
    left("VERDICT"),
    left("HEALTH").spare(6),
    elastic("COMMAND", Cut::End).spare(7),
];

/// What the word in the table means, of those that have ended and those that run.
const REPLACED: &str =
    "replaced: it then became another program (exec), of which nothing is known.";
const REPLACED_RUNS: &str = "replaced, and runs: it became this program (exec), in which memguard's library is not; \
    `memguard doctor PID` says why.";

/// The whole list.
pub fn text(list: &List, layout: Layout) -> String {
    let mut out = if list.processes.is_empty() {
        "No process is being watched; start one with `memguard run -- COMMAND`.\n".to_owned()
    } else {
        let rows: Vec<Vec<Cell>> = list.processes.iter().map(row).collect();
        table(&COLUMNS, &rows, layout.width)
    };
    for (alive, meaning) in [(false, REPLACED), (true, REPLACED_RUNS)] {
        let has_such = |row: &ListRow| row.process.replaced && row.process.alive == alive;
        if list.processes.iter().any(has_such) {
            out.push_str(&wrap(meaning, 0, layout.width));
        }
    }
    for note in &list.notes {
        out.push_str(&wrap(&safe(note), 0, layout.width));
    }
    out
}

fn row(row: &ListRow) -> Vec<Cell> {
    let process = &row.process;
    let fds = row.open_fds.map(|open| match row.fd_limit {
        Some(limit) => format!("{}/{}", count(open), count(limit)),
        None => count(open),
    });
    let mode = match (process.alive, process.mode) {
        _ if process.replaced => Cell::styled("replaced", FAINT),
        (false, _) => Cell::styled("ended", FAINT),
        (true, mode) => mode.map_or("", |mode| mode.name()).into(),
    };
    vec![
        process.pid.to_string().into(),
        safe(process.name()).into_owned().into(),
        mode,
        process.uptime_s.map(span).unwrap_or_default().into(),
        row.rss_bytes.map(bytes).unwrap_or_default().into(),
        row.live_bytes.map(bytes).unwrap_or_default().into(),
        fds.unwrap_or_default().into(),
        row.verdict.map_or_else(Cell::default, |verdict| {
            Cell::styled(verdict.name(), of(verdict))
        }),
        row.grade.clone().unwrap_or_default().into(),
        Cell::styled(safe(&process.command_line()), FAINT),
    ]
}
