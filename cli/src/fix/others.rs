//! Timers that another fix stopped meanwhile. They did not stop by themselves,
//! and are nothing that this one did: its log has them.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::kernel::{ProcDir, process::start_ticks};
use crate::model::{Fix, FixItem, FixOutcome};
use crate::state::Folder;
use crate::state::audit::{Action, read};
use crate::state::pending::pending;

/// Which timer: its descriptor or the kernel's number of it, its object, its birth.
type Timer = (Option<i32>, Option<u32>, (u64, u64), Option<u64>);

/// Says of those of these that ran no more when it came to them whether another
/// fix has stopped them since then; `run` is this one.
pub fn tell(items: &mut [FixItem], which: &[usize], dir: &ProcDir, since: Timestamp, run: &str) {
    let is_off = |at: &&usize| {
        let item = &items[**at];
        item.action == Fix::Disarm && item.outcome == Some(FixOutcome::Vanished)
    };
    let off: Vec<usize> = which.iter().filter(is_off).copied().collect();
    if off.is_empty() {
        return;
    }
    // Without its log nobody knows of another.
    let actions = Folder::open().and_then(|folder| read(&folder));
    let start = start_ticks(dir).ok();
    let stopped = pending(&actions.unwrap_or_default()).into_iter();
    let stopped = stopped
        .filter(|one| (one.pid, Some(one.start_ticks)) == (dir.pid(), start))
        .filter(|one| one.at >= since && !is_of(&one.id, run));
    let stopped: HashSet<Timer> = stopped.map(|one| acted_on(&one)).collect();
    for at in off {
        let item = &mut items[at];
        if stopped.contains(&(item.fd, item.timer, item.object, item.born_ms)) {
            item.outcome = Some(FixOutcome::ByAnother);
            item.detail = None;
        }
    }
}

fn acted_on(one: &Action) -> Timer {
    (one.fd, one.posix_timer, one.object, one.born_ms)
}

/// `run.place`
fn is_of(id: &str, run: &str) -> bool {
    id.rsplit_once('.').is_some_and(|(of, _)| of == run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_of_the_run_that_its_name_begins_with() {
        assert!(is_of("19c-7.12", "19c-7") && !is_of("19c-7.12", "19c-8"));
        assert!(!is_of("19c-71.2", "19c-7") && !is_of("", ""));
    }
}
