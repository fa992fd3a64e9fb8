//! What is too young to judge and what is merely held, a line a place.

use super::super::Layout;
use super::report::INDENT;
use super::style::{FAINT, of, paint};
use super::table::{Cell, Cut, elastic, left, right, table};
use crate::detect::place;
use crate::model::{Kind, Report, Verdict};
use crate::render::line;
use crate::render::safe::safe;
use crate::units::{bytes, count, rough_bytes, roughly};

/// Lines shown of the heap and of the rest, each verdict.
const SHOWN: usize = 5;
/// Said of what a fix has ended: it is no more than a number.
const ENDED: &str = "ended by memguard";

/// How many places are too young to judge.
pub fn places(report: &Report) -> usize {
    by_place(report, Verdict::Early).len()
}

/// The biggest of the young and the held ones, a line each.
pub fn young(out: &mut String, report: &Report, layout: Layout) {
    let (early, held) = (
        by_place(report, Verdict::Early),
        by_place(report, Verdict::Held),
    );
    let all = early.len() + held.len();
    if all == 0 {
        return;
    }
    // Who asks what came since wants all of it.
    let most = report.totals.since.map_or(SHOWN, |_| usize::MAX);
    let shown: Vec<&Young> = balanced(&early, most)
        .into_iter()
        .chain(balanced(&held, most))
        .collect();
    let rows: Vec<Vec<Cell>> = shown
        .iter()
        .map(|young| young.cells(report.coverage.exact()))
        .collect();
    let columns = [
        left(""),
        right(""),
        right(""),
        left(""),
        elastic("", Cut::End),
    ];
    let text = table(&columns, &rows, layout.width);
    out.push('\n');
    // Heads say nothing here.
    out.push_str(text.split_once('\n').map_or("", |(_, body)| body));
    if all > shown.len() {
        let more = format!(
            "{:INDENT$}… and {} more places (--all)",
            "",
            all - shown.len()
        );
        line(out, format_args!("{}", paint(FAINT, more)));
    }
}

/// Findings of one verdict, kind and place: stacks that differ further out.
struct Young {
    verdict: Verdict,
    kind: Kind,
    place: String,
    ended: bool,
    count: u64,
    bytes: Option<u64>,
}

impl Young {
    fn cells(&self, exact: bool) -> Vec<Cell> {
        let (held, number) = self.figures(exact);
        vec![
            Cell::styled(
                format!(
                    "{:<width$}",
                    self.verdict.name().to_uppercase(),
                    width = INDENT - 2
                ),
                of(self.verdict),
            ),
            held.into(),
            number.into(),
            self.kind.noun(self.count).into(),
            safe(&self.placed()).into_owned().into(),
        ]
    }
}

impl Young {
    /// What comes first is not cut off.
    fn placed(&self) -> String {
        match (self.ended, self.count) {
            (false, _) => self.place.clone(),
            (true, 1) => format!("{ENDED}, number still held: {}", self.place),
            (true, _) => format!("{ENDED}, numbers still held: {}", self.place),
        }
    }

    /// Bytes and count; what a few samples stand for has no four digits.
    fn figures(&self, exact: bool) -> (String, String) {
        match self.bytes {
            Some(held) if !exact && self.kind == Kind::Memory => (
                format!("~{}", rough_bytes(held)),
                format!("~{}", count(roughly(self.count))),
            ),
            held => (held.map(bytes).unwrap_or_default(), count(self.count)),
        }
    }
}

fn by_place(report: &Report, verdict: Verdict) -> Vec<Young> {
    let mut all: Vec<Young> = Vec::new();
    for finding in report
        .findings
        .iter()
        .filter(|finding| finding.verdict == verdict)
    {
        let (place, ended) = (place(&finding.stack), finding.ended_by_fix);
        match all
            .iter_mut()
            .find(|young| (young.kind, &young.place, young.ended) == (finding.kind, &place, ended))
        {
            Some(young) => {
                young.count += finding.count;
                young.bytes = young.bytes.map(|bytes| bytes + finding.bytes.unwrap_or(0));
            }
            None => all.push(Young {
                verdict,
                kind: finding.kind,
                place,
                ended,
                count: finding.count,
                bytes: finding.bytes,
            }),
        }
    }
    all.sort_by_key(|young| std::cmp::Reverse((young.ended, young.bytes, young.count)));
    all
}

/// A few of the heap and a few of the rest, so that neither hides the other.
fn balanced(young: &[Young], most: usize) -> Vec<&Young> {
    let (heap, rest): (Vec<&Young>, Vec<&Young>) =
        young.iter().partition(|young| young.kind == Kind::Memory);
    rest.into_iter()
        .take(most)
        .chain(heap.into_iter().take(most))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Finding;

    #[test]
    fn what_a_fix_has_ended_is_a_line_of_its_own_and_the_first() {
        let mut report = crate::render::samples::report();
        let one = report.findings.first().unwrap().clone();
        let held = |count, ended_by_fix| Finding {
            verdict: Verdict::Held,
            kind: Kind::Sockets,
            bytes: None,
            count,
            ended_by_fix,
            ..one.clone()
        };
        report.findings = vec![held(70, false), held(30, true), held(1, false)];
        let mut text = String::new();
        young(&mut text, &report, Layout::default());
        let text = anstream::adapter::strip_str(&text).to_string();
        let rows: Vec<&str> = text.lines().filter(|row| !row.is_empty()).collect();
        let said = "ended by memguard, numbers still held: ";
        assert!(rows[0].contains("30") && rows[0].contains(said), "{text}");
        assert!(
            rows[1].contains("71") && !rows[1].contains("memguard"),
            "{text}"
        );
        assert_eq!(rows.len(), 2, "{text}");
    }
}
