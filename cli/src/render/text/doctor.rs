//! The doctor's findings for people.

use super::super::Layout;
use super::style::{outcome, paint};
use super::wrap::wrap;
use crate::model::{Doctor, Outcome};
use crate::render::line;
use crate::render::safe::safe;

/// Summary first, then what is wrong, then what was fine.
pub fn text(doctor: &Doctor, layout: Layout) -> String {
    let mut out = wrap(&safe(&doctor.summary), 0, layout.width);
    let mut checks: Vec<_> = doctor.checks.iter().collect();
    checks.sort_by_key(|check| check.outcome);
    for check in checks {
        let word = match check.outcome {
            Outcome::Blocked => "blocked",
            Outcome::Limited => "limited",
            Outcome::Ok => "ok",
            Outcome::Note => "note",
        };
        let label = paint(outcome(check.outcome), format!("{word:<8}"));
        let detail = wrap(&safe(&check.detail), 9, layout.width);
        line(&mut out, format_args!("{label} {}", detail.trim()));
        if let Some(advice) = &check.advice {
            out.push_str(&wrap(&safe(advice), 9, layout.width));
        }
    }
    out
}
