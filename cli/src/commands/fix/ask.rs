//! One question on a terminal; without one, only `--yes` answers it.

use std::io::IsTerminal;

use super::super::common::{emit_error, writer_for};
use crate::args::{FixArgs, Format};
use crate::error::Error;
use crate::model::{FixCache, FixItem, FixLimit, FixReport};

/// Whether somebody agrees to the plan.
///
/// # Errors
/// When nobody is there.
pub fn agreed(args: &FixArgs, plan: &FixReport) -> Result<bool, Error> {
    if args.yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Error::Usage(
            "Nobody is there to say yes; add --yes to act, or --dry-run to see the plan only."
                .into(),
        ));
    }
    emit_error(&writer_for(Format::Text, None, false).fix(plan)?)?;
    emit_error(&question(plan))?;
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// `Fix these 12 and raise the limit? [y/N] `
fn question(plan: &FixReport) -> String {
    let open = plan.items.iter().filter(|item| FixItem::passes(item));
    let fix = match open.count() {
        0 => None,
        1 => Some("fix this one".to_owned()),
        n => Some(format!("fix these {n}")),
    };
    let limit = plan.limit.as_ref().is_some_and(FixLimit::passes);
    let raise = limit.then(|| "raise the limit".to_owned());
    let ways = plan.caches.iter().filter(|cache| FixCache::passes(cache));
    let give = match ways.count() {
        0 => None,
        1 => Some("give memory back in 1 way".to_owned()),
        n => Some(format!("give memory back in {n} ways")),
    };
    let all: Vec<String> = [fix, raise, give].into_iter().flatten().collect();
    let mut said = all.join(" and ");
    if let Some(first) = said.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    said + "? [y/N] "
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fix, FixMeans, Kind};

    #[test]
    fn the_question_names_what_would_be_done_and_nothing_else() {
        let mut plan = crate::render::samples::fix();
        plan.items.clear();
        plan.caches
            .push(FixCache::new(FixMeans::Allocator, "glibc"));
        assert_eq!(question(&plan), "Give memory back in 1 way? [y/N] ");
        let item = FixItem::new("sockets-1", Kind::Sockets, Fix::Eof, "x".into());
        plan.items = vec![item.clone(), item];
        let both = "Fix these 2 and give memory back in 1 way? [y/N] ";
        assert_eq!(question(&plan), both);
    }
}
