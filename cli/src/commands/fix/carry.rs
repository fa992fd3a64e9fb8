//! Acts on a plan, and keeps every action in the log.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::helping::{Clock, Helping};
use super::super::progress::Progress;
use crate::args::{FixArgs, Rate};
use crate::fix::inside::Inside;
use crate::fix::ladder::climb;
use crate::fix::life::Life;
use crate::fix::pace::{Line, Pace};
use crate::fix::retire::end_due;
use crate::fix::undo::setting;
use crate::fix::{caches, limit};
use crate::model::{
    Fix, FixCache, FixItem, FixLimit, FixOutcome, FixReport, FixTook, Kind, milliseconds,
};
use crate::state::audit::{Action, Journal, Setting, read};
use crate::state::pending::pending;
use crate::state::{Folder, StateError};

/// How long a parked file waits to be touched, unless said otherwise.
pub const QUARANTINE: Duration = Duration::from_secs(600);

/// The log, and why it could not be written.
struct Log {
    journal: Option<Journal>,
    why_not: Option<StateError>,
}

impl Log {
    fn open(pid: i32, process: &str) -> Self {
        let (journal, why_not) = match Journal::open(pid, process) {
            Ok(journal) => (Some(journal), None),
            Err(why) => (None, Some(why)),
        };
        Self { journal, why_not }
    }

    /// Whether the line is kept.
    fn add(&mut self, at: usize, item: &FixItem) -> bool {
        self.add_all(&[(at, item, None)])
    }

    /// Whether these lines are kept.
    fn add_all(&mut self, lines: &[(usize, &FixItem, Option<Setting>)]) -> bool {
        let Some(journal) = &mut self.journal else {
            return false;
        };
        let added = journal.add_all(lines);
        let kept = added.is_ok();
        self.why_not = added.err().or(self.why_not.take());
        kept
    }

    /// What is to be said of it.
    fn note(self) -> Option<String> {
        let why = self.why_not?;
        Some(format!(
            "{why} What is done is missing there, and what could be set back by it only is not done."
        ))
    }
}

/// Acts on the items. Whether the log has all of it.
pub fn carry_out(
    args: &FixArgs,
    life: &Life,
    (inside, clock): (Option<Inside>, Option<&Clock>),
    plan: &mut FixReport,
) -> bool {
    let pid = life.pid();
    let mut log = Log::open(pid, plan.process.name());
    // What ends here is not to be parked by the same run.
    let ended = if args.retire {
        end_quarantine(args, pid, log.journal.as_mut())
    } else {
        Vec::new()
    };
    spare(&mut plan.items, &ended);
    if let Some(limit) = plan.limit.as_mut().filter(|limit| limit.passes()) {
        limit::raise(pid, limit);
        log.add(plan.items.len(), &limit_line(limit));
    }
    give_back(life, plan, &mut log);
    let total = plan.items.iter().filter(|item| item.passes()).count();
    let (progress, mut touched) = (Progress::of("Fixing", total), BTreeSet::new());
    let mut helping = Helping::default();
    let mut kept = |lines: &[Line<'_>]| {
        for line in lines {
            touched.insert(line.at);
            helping.saw(line.at, line.item);
        }
        progress.done(touched.len());
        let all = lines.iter();
        let all = all.map(|line| (line.at, line.item, line.timer.map(setting)));
        log.add_all(&all.collect::<Vec<_>>())
    };
    let per_second = match args.rate {
        Rate::PerSecond(n) => Some(n),
        Rate::Unlimited => None,
    };
    climb(
        plan,
        life,
        inside,
        &mut Pace::new(life, per_second, &mut kept),
    );
    drop(progress);
    let noting = Instant::now();
    helping.keep(clock);
    let took = plan.took.get_or_insert_with(FixTook::default);
    took.note_ms = milliseconds(noting.elapsed());
    plan.items.extend(ended);
    let note = log.note();
    let logged = note.is_none();
    plan.notes.extend(note);
    logged
}

fn give_back(life: &Life, plan: &mut FixReport, log: &mut Log) {
    let first = plan.items.len() + 1;
    let total = plan.caches.iter().filter(|cache| cache.passes()).count();
    let progress = Progress::of("Giving memory back, ways done:", total);
    let mut done = 0;
    caches::give::give_back(life, &mut plan.caches, &mut |at, cache| {
        done += usize::from(cache.outcome.is_some());
        progress.done(done);
        log.add(first + at, &cache_line(cache))
    });
}

/// What the program has just shown that it uses is not parked again.
fn spare(items: &mut [FixItem], ended: &[FixItem]) {
    let used = |item: &FixItem| item.outcome == Some(FixOutcome::Restored);
    let used: Vec<Option<i32>> = ended
        .iter()
        .filter(|item| used(item))
        .map(|item| item.fd)
        .collect();
    for item in items.iter_mut().filter(|item| item.action == Fix::Retire) {
        if used.contains(&item.fd) {
            item.outcome = Some(FixOutcome::Refused);
            item.detail = Some("the program has just used it".to_owned());
        }
    }
}

/// What was parked long enough by earlier runs.
fn end_quarantine(args: &FixArgs, pid: i32, journal: Option<&mut Journal>) -> Vec<FixItem> {
    let actions = Folder::open().and_then(|folder| read(&folder));
    let parked = pending(&actions.unwrap_or_default()).into_iter();
    let parked = parked.filter(|action| action.action == Fix::Retire);
    let quarantine = args.quarantine.unwrap_or(QUARANTINE);
    let ended = end_due(parked.collect(), pid, quarantine);
    if let Some(journal) = journal {
        for (action, item) in &ended {
            // One that cannot be kept is asked about again.
            let _ = journal.write(&Action {
                at: jiff::Timestamp::now(),
                outcome: item.outcome,
                detail: item.detail.clone(),
                ..action.clone()
            });
        }
    }
    ended.into_iter().map(|(_, item)| item).collect()
}

/// For the log: a limit is no object, so it has words only.
fn limit_line(limit: &FixLimit) -> FixItem {
    let raised = limit.raised == Some(true);
    let what = format!("limit on descriptors, {} -> {}", limit.from, limit.to);
    FixItem {
        gates: limit.gates.clone(),
        outcome: (!raised).then_some(FixOutcome::Failed),
        detail: raised.then(|| "raised".to_owned()),
        ..FixItem::new("", Kind::Files, Fix::None, what)
    }
}

/// For the log: neither is memory that is free.
fn cache_line(cache: &FixCache) -> FixItem {
    let given = cache.given_bytes.map(|given| format!("{given} bytes"));
    let what = format!("{}: {}", cache.means.words(), cache.what);
    FixItem {
        gates: cache.gates.clone(),
        outcome: cache.outcome,
        detail: given.or_else(|| cache.detail.clone()),
        ..FixItem::new("", Kind::Caches, Fix::GiveBack, what)
    }
}
