//! The log of a fix: nothing is begun that it does not keep, and what it lacks
//! in the end is said.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{FixItem, FixOutcome, FixReport};
use crate::state::StateError;
use crate::state::audit::{Action, Journal, Setting};
use crate::units::count;

/// Descriptors that are named of those whose outcome the log lacks; the report
/// has all.
const NAMED: usize = 20;

/// A line: the place in the plan, the item, what a timer was set to.
pub type Entry<'a> = (usize, &'a FixItem, Option<Setting>);

/// The limit's place in the log of a plan,
pub fn limit_at(plan: &FixReport) -> usize {
    plan.items.len()
}

/// and that of the first way to give memory back.
pub fn caches_at(plan: &FixReport) -> usize {
    plan.items.len() + 1
}

/// The log, what it has, and why it could not be written.
pub struct Log {
    journal: Option<Journal>,
    why_not: Option<StateError>,
    begun: BTreeSet<usize>,
    ended: BTreeSet<usize>,
    /// Lines that are of no item of this plan
    others: usize,
}

impl Log {
    /// Opens it.
    pub fn open(pid: i32, process: &str) -> Self {
        let (journal, why_not) = match Journal::open(pid, process) {
            Ok(journal) => (Some(journal), None),
            Err(why) => (None, Some(why)),
        };
        Self {
            journal,
            why_not,
            begun: BTreeSet::new(),
            ended: BTreeSet::new(),
            others: 0,
        }
    }

    /// The name that its lines go by.
    pub fn run(&self) -> String {
        let journal = self.journal.as_ref();
        journal.map_or(String::new(), |journal| journal.run().to_owned())
    }

    /// Whether the line is kept.
    pub fn add(&mut self, at: usize, item: &FixItem) -> bool {
        self.add_all(&[(at, item, None)])
    }

    /// Whether these lines are kept. Once it could not be written, nothing more
    /// is begun; what has begun may still come to its end.
    pub fn add_all(&mut self, lines: &[Entry<'_>]) -> bool {
        let begins = |(_, item, _): &Entry<'_>| item.outcome.is_none();
        let kept = self.try_to(lines.iter().any(begins), |journal| journal.add_all(lines));
        for line in lines.iter().filter(|_| kept) {
            match self.begun.insert(line.0) || begins(line) {
                true => {}
                false => _ = self.ended.insert(line.0),
            }
        }
        kept
    }

    /// Whether these lines on what earlier runs began are kept.
    pub fn write(&mut self, lines: &[Action]) -> bool {
        let begins = lines.iter().any(|line| line.outcome.is_none());
        let kept = self.try_to(begins, |journal| {
            lines.iter().try_for_each(|line| journal.write(line))
        });
        self.others += lines.len() * usize::from(kept);
        kept
    }

    fn try_to(
        &mut self,
        begins: bool,
        write: impl FnOnce(&mut Journal) -> Result<(), StateError>,
    ) -> bool {
        let is_broken = self.why_not.is_some();
        let Some(journal) = self.journal.as_mut().filter(|_| !(begins && is_broken)) else {
            return false;
        };
        let written = write(journal);
        let kept = written.is_ok();
        self.why_not = self.why_not.take().or(written.err());
        kept
    }

    /// What it has of all that was done.
    pub fn kept(self, plan: &FixReport) -> Kept {
        let why = self.why_not.as_ref().map(ToString::to_string);
        Kept {
            lines: self.begun.len() + self.others,
            missing: why.map(|why| self.sentence(&why, plan)),
        }
    }

    fn sentence(&self, why: &str, plan: &FixReport) -> String {
        if self.begun.is_empty() && self.others == 0 {
            return format!("{why} Nothing was done.");
        }
        let lacking = self.lacking(plan);
        match lacking.is_empty() {
            true => format!("{why} Nothing more was done; what was done before stands there."),
            false => format!(
                "{why} Nothing more was done. Of some it has only that they were begun; this came of them: {}.",
                lacking.join(", ")
            ),
        }
    }

    /// What was done and has only its beginning there, in words.
    fn lacking(&self, plan: &FixReport) -> Vec<String> {
        let mut by_outcome: BTreeMap<FixOutcome, Vec<&FixItem>> = BTreeMap::new();
        for at in self.begun.difference(&self.ended) {
            let Some(item) = plan.items.get(*at) else {
                continue;
            };
            if let Some(outcome) = item.outcome.filter(|one| one.is_done()) {
                by_outcome.entry(outcome).or_default().push(item);
            }
        }
        by_outcome
            .into_iter()
            .map(|(outcome, items)| {
                let n = count(items.len() as u64);
                format!("{n} {} ({})", outcome.words(), numbers(&items))
            })
            .collect()
    }
}

/// `descriptors 5, 6 and 100 more`, or what else they are called.
fn numbers(items: &[&FixItem]) -> String {
    let name = |item: &&FixItem| match (item.fd, item.timer) {
        (Some(fd), _) => format!("descriptor {fd}"),
        (None, Some(timer)) => format!("POSIX timer {timer}"),
        _ => item.what.clone(),
    };
    let mut names: Vec<String> = items.iter().take(NAMED).map(name).collect();
    if items.len() > NAMED {
        names.push(format!("{} more", count((items.len() - NAMED) as u64)));
    }
    names.join(", ")
}

/// What the log has of a run.
#[derive(Debug, Default)]
pub struct Kept {
    lines: usize,
    missing: Option<String>,
}

impl Kept {
    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.missing.is_none()
    }

    /// What is, in words.
    pub fn missing(&self) -> Option<String> {
        self.missing.clone()
    }

    /// The same, where there was anything to write down.
    pub fn of_something(&self) -> Option<Option<String>> {
        (self.lines > 0 || self.missing.is_some()).then(|| self.missing())
    }
}
