//! Closes of numbers that were not open: a line each, its calls on request.

use super::super::Layout;
use super::finding::stack;
use super::report::INDENT;
use super::style::{STRONG, paint};
use super::wrap::wrap;
use crate::detect::place;
use crate::model::BadClose;
use crate::render::line;
use crate::render::safe::safe;
use crate::units::count;

/// Places shown, unless all is asked for.
const PLACES: usize = 5;

/// Appends the section, if there is anything to say.
pub fn write(out: &mut String, closes: &[BadClose], layout: Layout) {
    if closes.is_empty() {
        return;
    }
    let number = closes.iter().map(|close| close.count).sum();
    let title = "Closes of numbers that were not open:";
    out.push('\n');
    line(
        out,
        format_args!("{} {}", paint(STRONG, title), count(number)),
    );
    let shown = if layout.all { closes.len() } else { PLACES };
    for close in closes.iter().take(shown) {
        out.push_str(&wrap(&safe(&sentence(close)), INDENT, layout.width));
        stack(out, &close.stack, layout);
        if !close.closed_before.is_empty() {
            out.push_str(&wrap("after the close in", INDENT, layout.width));
            stack(out, &close.closed_before, layout);
        }
    }
    if closes.len() > shown {
        let rest = format!("… and in {} more places (--all)", closes.len() - shown);
        out.push_str(&wrap(&rest, INDENT, layout.width));
    }
}

/// `fd 7 was closed again in a.c:12 (drop), 3 times; a.c:5 (get) had made it.`
fn sentence(close: &BadClose) -> String {
    let times = match close.count {
        1 => String::new(),
        n => format!(", {} times in all", count(n)),
    };
    let made = if close.created.is_empty() {
        String::new()
    } else {
        format!("; it last named what {} made", place(&close.created))
    };
    format!(
        "fd {} was not open when {} closed it{times}{made}.",
        close.fd,
        place(&close.stack)
    )
}
