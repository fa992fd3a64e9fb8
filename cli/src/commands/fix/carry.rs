//! Acts on a plan, and keeps every action in the log.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::helping::{Clock, Helping};
use super::super::progress::Progress;
use super::log::{Kept, Log, caches_at, limit_at};
use crate::args::{FixArgs, Rate};
use crate::fix::inside::Inside;
use crate::fix::ladder::climb;
use crate::fix::life::Life;
use crate::fix::pace::{Line, Pace};
use crate::fix::retire::{due, end};
use crate::fix::undo::setting;
use crate::fix::{caches, limit};
use crate::model::{
    Fix, FixCache, FixItem, FixLimit, FixOutcome, FixReport, FixTook, Kind, milliseconds,
};
use crate::state::Folder;
use crate::state::audit::{Action, read};
use crate::state::pending::pending;

/// How long a parked file waits to be touched, unless said otherwise.
pub const QUARANTINE: Duration = Duration::from_secs(600);

/// Acts on the items, as far as the log can be written. What it has of that.
pub fn carry_out(
    args: &FixArgs,
    life: &Life,
    (inside, clock): (Option<Inside>, Option<&Clock>),
    plan: &mut FixReport,
) -> Kept {
    let pid = life.pid();
    let mut log = Log::open(pid, plan.process.name());
    // What ends here is not to be parked by the same run.
    let ended = if args.retire {
        end_quarantine(args, pid, &mut log)
    } else {
        Vec::new()
    };
    spare(&mut plan.items, &ended);
    raise(pid, plan, &mut log);
    give_back(life, plan, &mut log);
    let total = plan.items.iter().filter(|item| item.passes()).count();
    let (progress, mut touched) = (Progress::of("Fixing", total), BTreeSet::new());
    let (mut helping, run) = (Helping::default(), log.run());
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
    let mut pace = Pace::new(life, per_second, &mut kept).of_run(&run);
    climb(plan, life, inside, &mut pace);
    drop(progress);
    let noting = Instant::now();
    helping.keep(clock);
    let took = plan.took.get_or_insert_with(FixTook::default);
    took.note_ms = milliseconds(noting.elapsed());
    let kept = log.kept(plan);
    plan.items.extend(ended);
    plan.notes.extend(kept.missing());
    kept
}

fn raise(pid: i32, plan: &mut FixReport, log: &mut Log) {
    let at = limit_at(plan);
    let Some(limit) = plan.limit.as_mut().filter(|limit| limit.passes()) else {
        return;
    };
    if !log.add(at, &limit_line(limit)) {
        limit.raised = Some(false);
        limit.detail = Some("nothing is done without the log".to_owned());
        return;
    }
    limit::raise(pid, limit);
    log.add(at, &limit_line(limit));
}

fn give_back(life: &Life, plan: &mut FixReport, log: &mut Log) {
    let first = caches_at(plan);
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
fn end_quarantine(args: &FixArgs, pid: i32, log: &mut Log) -> Vec<FixItem> {
    let actions = Folder::open().and_then(|folder| read(&folder));
    let parked = pending(&actions.unwrap_or_default()).into_iter();
    let parked = parked.filter(|action| action.action == Fix::Retire);
    let quarantine = args.quarantine.unwrap_or(QUARANTINE);
    let due = due(parked.collect(), pid, quarantine);
    let line = |action: &Action, item: Option<&FixItem>| Action {
        at: jiff::Timestamp::now(),
        outcome: item.and_then(|item| item.outcome),
        detail: item.and_then(|item| item.detail.clone()),
        ..action.clone()
    };
    // What cannot be kept stays parked.
    if due.is_empty() || !log.write(&due.iter().map(|one| line(one, None)).collect::<Vec<_>>()) {
        return Vec::new();
    }
    let ended = end(due, pid);
    let lines = ended.iter().map(|(action, item)| line(action, Some(item)));
    log.write(&lines.collect::<Vec<_>>());
    ended.into_iter().map(|(_, item)| item).collect()
}

/// For the log: a limit is no object, so it has words only.
fn limit_line(limit: &FixLimit) -> FixItem {
    let what = format!("limit on descriptors, {} -> {}", limit.from, limit.to);
    FixItem {
        gates: limit.gates.clone(),
        outcome: (limit.raised == Some(false)).then_some(FixOutcome::Failed),
        detail: (limit.raised == Some(true)).then(|| "raised".to_owned()),
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
