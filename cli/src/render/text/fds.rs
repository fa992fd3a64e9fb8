//! The list of descriptors for people.

use super::super::Layout;
use super::style::{FAINT, STRONG, paint};
use super::table::{Cell, Column, Cut, elastic, left, right, table};
use super::wrap::wrap;
use crate::detect::place;
use crate::model::{FdRow, Fds};
use crate::render::line;
use crate::render::safe::safe;
use crate::units::{bytes, count, span};

const COLUMNS: [Column; 7] = [
    right("FD"),
    left("KIND"),
    right("AGE").spare(2),
    right("IDLE").spare(3),
    left("STATE").spare(1),
    elastic("PATH OR PEER", Cut::Front),
    elastic("CREATED BY", Cut::End),
];

/// The whole list.
pub fn text(fds: &Fds, layout: Layout) -> String {
    let mut out = String::new();
    let open = fds.open_fds.map(|open| match fds.fd_limit {
        Some(limit) => format!(", {} of {} descriptors open", count(open), count(limit)),
        None => format!(", {} descriptors open", count(open)),
    });
    let name = safe(fds.process.name()).into_owned();
    let ended = if fds.process.alive { "" } else { ", ended" };
    line(
        &mut out,
        format_args!(
            "{}  pid {}{ended}{}",
            paint(STRONG, name),
            fds.process.pid,
            open.unwrap_or_default()
        ),
    );
    let rows: Vec<Vec<Cell>> = fds.descriptors.iter().map(row).collect();
    if rows.is_empty() {
        line(&mut out, format_args!("No descriptor fits."));
    } else {
        out.push_str(&table(&COLUMNS, &rows, layout.width));
    }
    for note in &fds.notes {
        out.push_str(&wrap(&safe(note), 0, layout.width));
    }
    out
}

fn row(open: &FdRow) -> Vec<Cell> {
    let creator = match (open.origin_known, open.inherited, open.stack.is_empty()) {
        (true, Some(true), _) => Cell::styled("inherited", FAINT),
        (true, _, false) => safe(&place(&open.stack)).into_owned().into(),
        _ => Cell::styled("unknown", FAINT),
    };
    vec![
        open.fd.to_string().into(),
        open.what.clone().into(),
        open.age_s.map(span).unwrap_or_default().into(),
        open.idle_s.map(span).unwrap_or_default().into(),
        open.state.clone().unwrap_or_default().into(),
        safe(&object(open)).into_owned().into(),
        creator,
    ]
}

fn object(open: &FdRow) -> String {
    match (&open.local, &open.peer) {
        (Some(local), Some(peer)) => format!("{local} -> {peer}"),
        (None, Some(end)) | (Some(end), None) => end.clone(),
        (None, None) => named(open),
    }
}

/// The path, and what else there is to say in a few words.
fn named(open: &FdRow) -> String {
    let path = open.path.clone().unwrap_or_default();
    let more = [
        open.held_bytes.map(|held| format!("holds {}", bytes(held))),
        open.timer
            .map(|timer| match (timer.armed, timer.unread_ticks) {
                (_, unread) if unread > 0 => format!("{} unread", count(unread)),
                (true, _) => "armed".to_owned(),
                (false, _) => "not armed".to_owned(),
            }),
        open.registrations
            .map(|n| format!("{} registered", count(n))),
    ];
    let more: Vec<String> = more.into_iter().flatten().collect();
    match more.is_empty() {
        true => path,
        false => format!("{path}, {}", more.join(", ")),
    }
}
