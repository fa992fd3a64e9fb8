//! Columns that fit the screen: one row a line, but for columns that wrap.

use anstyle::Style;

use super::style::{FAINT, paint};
use super::wrap::{cut, cut_front, width, wrap};

/// How one column is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its head
    pub head: &'static str,
    /// Numbers stand right
    pub right: bool,
    /// May be cut, in front if it holds paths
    pub elastic: Option<Cut>,
    /// Where there is no room, those with the most are left out first; 0: only
    /// where nothing else helps
    pub spare: u8,
}

impl Column {
    /// Can be done without, the better the more.
    pub const fn spare(self, spare: u8) -> Self {
        Self { spare, ..self }
    }
}

/// Where an elastic cell is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Its start stays
    End,
    /// Its end stays
    Front,
    /// Nowhere: it goes on below. For the last column
    Wrap,
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
        spare: 0,
    }
}

/// A column of numbers.
pub const fn right(head: &'static str) -> Column {
    Column {
        head,
        right: true,
        elastic: None,
        spare: 0,
    }
}

/// A column that gives way.
pub const fn elastic(head: &'static str, cut: Cut) -> Column {
    Column {
        head,
        right: false,
        elastic: Some(cut),
        spare: 0,
    }
}

/// Least width of an elastic column.
const LEAST: usize = 8;
/// Before one is that narrow, others are left out.
const LEGIBLE: usize = 16;
const GAP: usize = 2;

/// The table as text. Columns in which every cell is empty are left out, and
/// where there is no room those that can be spared, then the last ones.
pub fn table(columns: &[Column], rows: &[Vec<Cell>], room: usize) -> String {
    let filled = |at: &usize| rows.iter().any(|row| !row[*at].text.is_empty());
    let mut used: Vec<usize> = (0..columns.len()).filter(filled).collect();
    let fits = |used: &[usize], least| total(&widths_of(columns, rows, used, room, least)) <= room;
    while !fits(&used, LEGIBLE) && spare_one(columns, &mut used) {}
    while !fits(&used, LEAST) && used.len() > 1 {
        used.pop();
    }
    let widths = widths_of(columns, rows, &used, room, LEAST);
    let head: Vec<Cell> = columns
        .iter()
        .map(|column| Cell::styled(column.head, FAINT))
        .collect();
    std::iter::once(&head)
        .chain(rows)
        .map(|row| line(columns, row, &used, &widths))
        .collect()
}

/// Leaves out what can be spared best. False when nothing can.
fn spare_one(columns: &[Column], used: &mut Vec<usize>) -> bool {
    let spared = (0..used.len()).filter(|at| columns[used[*at]].spare > 0);
    let Some(most) = spared.max_by_key(|at| columns[used[*at]].spare) else {
        return false;
    };
    used.remove(most);
    true
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

fn widths_of(
    columns: &[Column],
    rows: &[Vec<Cell>],
    used: &[usize],
    room: usize,
    least: usize,
) -> Vec<usize> {
    let widest = |at: &usize| {
        let cells = rows.iter().map(|row| width(&row[*at].text));
        cells.chain([width(columns[*at].head)]).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = used.iter().map(widest).collect();
    while total(&widths) > room {
        let may_shrink = |at: &usize| columns[used[*at]].elastic.is_some() && widths[*at] > least;
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
    let mut below = String::new();
    let before = total(widths) - widths.last().unwrap_or(&0);
    for (&at, &room) in used.iter().zip(widths) {
        let (column, cell) = (columns[at], &row[at]);
        let text = match column.elastic {
            Some(Cut::End) => cut(&cell.text, room),
            Some(Cut::Front) => cut_front(&cell.text, room),
            Some(Cut::Wrap) if width(&cell.text) > room => {
                let wrapped = wrap(&cell.text, 0, room);
                let (first, rest) = wrapped.split_once('\n').unwrap_or((&wrapped, ""));
                let indented = |line: &str| format!("{:before$}{}\n", "", paint(cell.style, line));
                below = rest.lines().map(indented).collect();
                first.to_owned()
            }
            _ => cell.text.clone(),
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
    format!("{}\n{below}", out.trim_end())
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

    #[test]
    fn a_column_that_wraps_loses_nothing() {
        let columns = [right("N"), elastic("RESULT", Cut::Wrap)];
        let row = vec!["1".into(), "age: 4 min old, at least 5 min is asked".into()];
        let text = table(&columns, &[row], 20);
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            text,
            "N  RESULT\n1  age: 4 min old,\n   at least 5 min is\n   asked\n"
        );
    }

    #[test]
    fn on_a_narrow_screen_what_can_be_spared_goes_and_what_matters_stays() {
        let columns = [
            right("N"),
            left("KIND").spare(1),
            elastic("PATH", Cut::Front),
            left("MODE").spare(2),
            elastic("RESULT", Cut::End),
        ];
        let cells = [
            "1",
            "sockets",
            "/a/long/path/to/a/file",
            "light",
            "refused: too young",
        ];
        let row = cells.map(Into::into).to_vec();
        let at = |room| {
            let text = table(&columns, std::slice::from_ref(&row), room);
            anstream::adapter::strip_str(&text).to_string()
        };
        let heads = |room| {
            let text = at(room);
            let words: Vec<String> = text
                .lines()
                .next()
                .unwrap()
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            assert!(
                text.lines().all(|line| line.chars().count() <= room),
                "{text}"
            );
            words.join(" ")
        };
        assert_eq!(heads(80), "N KIND PATH MODE RESULT");
        assert_eq!(heads(50), "N KIND PATH RESULT");
        assert_eq!(heads(40), "N PATH RESULT");
        assert_eq!(heads(24), "N PATH RESULT");
    }
}
