//! Descriptors of a forked child that neither it nor its parent has a row of, or
//! that has no record yet.
//!
//! A child does not ask the kernel what is open as it begins: that costs more
//! than all the rest of its record. So whoever looks at it asks, as long as the
//! parent runs: one open file under one number in both came by the fork.

use std::cmp::Ordering;

use super::facts::Facts;
use crate::kernel::{ProcDir, Process, kcmp};

/// Marks what the library has no row of and the parent has just so.
pub fn mark_shared(facts: &mut Facts) {
    let pid = facts.pid;
    let open = facts.descriptors.iter_mut().flatten();
    let mut unseen = open.filter(|fact| !fact.tracked).peekable();
    if unseen.peek().is_none() {
        return;
    }
    let parent = ProcDir::open(pid).and_then(|dir| Ok(Process::read(&dir)?.parent));
    // With one table for both, all that either opens is there in the other.
    let Some(parent) = parent.ok().filter(|one| kcmp::have_own_tables(*one, pid)) else {
        return;
    };
    for fact in unseen {
        let order = kcmp::files((pid, fact.fd), (parent, fact.fd));
        fact.from_parent = order == Some(Ordering::Equal);
    }
}
