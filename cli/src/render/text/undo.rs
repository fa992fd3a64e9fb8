//! What can be set back, for people.

use super::super::Layout;
use super::style::FAINT;
use super::table::{Cell, Column, Cut, elastic, left, right, table};
use super::wrap::wrap;
use crate::model::{Undo, UndoItem};
use crate::render::safe::safe;

const COLUMNS: [Column; 6] = [
    left("ACTION"),
    left("PROCESS").spare(2),
    right("FD"),
    elastic("OBJECT", Cut::Front),
    left("DONE").spare(1),
    elastic("RESULT", Cut::Wrap),
];

/// One row an action.
pub fn text(undo: &Undo, layout: Layout) -> String {
    if undo.items.is_empty() {
        let text = "Nothing that memguard did is left to be set back.";
        return wrap(text, 0, layout.width);
    }
    let rows: Vec<Vec<Cell>> = undo.items.iter().map(row).collect();
    table(&COLUMNS, &rows, layout.width)
}

fn row(item: &UndoItem) -> Vec<Cell> {
    let result = item.outcome.map(|outcome| {
        let why = item.detail.as_deref().map(|why| format!(": {why}"));
        format!("{}{}", outcome.words(), why.unwrap_or_default())
    });
    vec![
        item.id.clone().into(),
        safe(&item.process).into_owned().into(),
        item.fd.map(|fd| fd.to_string()).unwrap_or_default().into(),
        safe(&item.what).into_owned().into(),
        Cell::styled(format!("{:.0}", item.at), FAINT),
        safe(&result.unwrap_or_default()).into_owned().into(),
    ]
}
