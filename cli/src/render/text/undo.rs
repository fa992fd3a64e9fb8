//! What can be set back, for people.

use super::super::Layout;
use super::style::{FAINT, paint};
use super::wrap::wrap;
use crate::model::Undo;
use crate::render::line;
use crate::render::safe::safe;

/// One line an action.
pub fn text(undo: &Undo, layout: Layout) -> String {
    let mut out = String::new();
    if undo.items.is_empty() {
        let text = "Nothing that memguard did is left to be set back.";
        out.push_str(&wrap(text, 0, layout.width));
    }
    for item in &undo.items {
        let result = item.outcome.map(|outcome| {
            let why = item.detail.as_deref().map(|why| format!(": {why}"));
            format!("  {}{}", outcome.words(), safe(&why.unwrap_or_default()))
        });
        let fd = item.fd.map_or(String::new(), |fd| format!("fd {fd}, "));
        let what = format!("{fd}{} of {}", item.what, item.process);
        let since = paint(FAINT, format!("{:.0}", item.at));
        line(
            &mut out,
            format_args!(
                "{}  {}  {since}{}",
                item.id,
                safe(&what),
                result.unwrap_or_default()
            ),
        );
    }
    out
}
