//! Columns that fit the screen: one row a line, always.

use anstyle::Style;

use super::style::{FAINT, paint};
use super::wrap::{cut, cut_front, width};

/// How one column is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its head
    pub head: &'static str,
    /// Numbers stand right
    pub right: bool,
    /// May be cut, in front if it holds paths
    pub elastic: Option<Cut>,
}

/// Where an elastic cell is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Its start stays
    End,
    /// Its end stays
    Front,
}

/// A cell: text and how it looks.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// In a style of its own.
    pub fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            style: Style::new(),
        }
    }
}

/// A column of words.
pub const fn left(head: &'static str) -> Column {
    Column {
        head,
        right: false,
        elastic: None,
    }
}

/// A column of numbers.
pub const fn right(head: &'static str) -> Column {
    Column {
        head,
        right: true,
        elastic: None,
    }
}

/// A column that gives way.
pub const fn elastic(head: &'static str, cut: Cut) -> Column {
    Column {
        head,
        right: false,
        elastic: Some(cut),
    }
}

/// Least width of an elastic column.
const LEAST: usize = 8;
const GAP: usize = 2;

/// The table as text. Columns in which every cell is empty are left out, and
/// the last ones where even so there is no room.
pub fn table(columns: &[Column], rows: &[Vec<Cell>], room: usize) -> String {
    let filled = |at: &usize| rows.iter().any(|row| !row[*at].text.is_empty());
    let mut used: Vec<usize> = (0..columns.len()).filter(filled).collect();
    let mut widths = widths_of(columns, rows, &used, room);
    while total(&widths) > room && used.len() > 1 {
        used.pop();
        widths = widths_of(columns, rows, &used, room);
    }
    let head: Vec<Cell> = columns
        .iter()
        .map(|column| Cell::styled(column.head, FAINT))
        .collect();
    std::iter::once(&head)
        .chain(rows)
        .map(|row| line(columns, row, &used, &widths))
        .collect()
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

fn widths_of(columns: &[Column], rows: &[Vec<Cell>], used: &[usize], room: usize) -> Vec<usize> {
    let widest = |at: &usize| {
        let cells = rows.iter().map(|row| width(&row[*at].text));
        cells.chain([width(columns[*at].head)]).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = used.iter().map(widest).collect();
    while total(&widths) > room {
        let may_shrink = |at: &usize| columns[used[*at]].elastic.is_some() && widths[*at] > LEAST;
        let elastic = (0..used.len()).filter(may_shrink);
        let Some(widest) = elastic.max_by_key(|at| widths[*at]) else {
            break;
        };
        widths[widest] -= 1;
    }
    widths
}

fn line(columns: &[Column], row: &[Cell], used: &[usize], widths: &[usize]) -> String {
    let mut out = String::new();
    for (&at, &room) in used.iter().zip(widths) {
        let (column, cell) = (columns[at], &row[at]);
        let text = match column.elastic {
            Some(Cut::End) => cut(&cell.text, room),
            Some(Cut::Front) => cut_front(&cell.text, room),
            None => cell.text.clone(),
        };
        let pad = " ".repeat(room.saturating_sub(width(&text)));
        let painted = if cell.style.is_plain() || text.is_empty() {
            text
        } else {
            paint(cell.style, text)
        };
        let (before, after) = if column.right {
            (pad, String::new())
        } else {
            (String::new(), pad)
        };
        out.push_str(&format!("{before}{painted}{after}{}", " ".repeat(GAP)));
    }
    format!("{}\n", out.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elastic_columns_give_way_and_empty_ones_go() {
        let columns = [right("N"), left("EMPTY"), elastic("PATH", Cut::Front)];
        let row = |n: &str, path: &str| vec![n.into(), Cell::default(), path.into()];
        let text = table(
            &columns,
            &[
                row("1", "/short"),
                row("22", "/a/very/long/path/to/file.txt"),
            ],
            20,
        );
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(text, " N  PATH\n 1  /short\n22  …ath/to/file.txt\n");
    }
}
