//! Looks at the targets of a report, and looks again where that tells more.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::attach::target::by_pid;
use crate::attach::{Running, Target, process, resolve};
use crate::detect::{Wanted, find, finding_id};
use crate::error::{Error, TargetError};
use crate::model::{Kind, Report, Verdict};
use crate::snapshot::{Snapshot, of_target};
use crate::state::sharpen::position;
use crate::state::{Earlier, Known};
use crate::units::{count, span};

/// Between the two looks that a report takes by itself.
const MOMENT: Duration = Duration::from_secs(1);

/// One target.
pub struct Observed {
    /// The latest look
    pub snapshot: Snapshot,
    /// How it stood before it was watched
    first: Option<Sites>,
}

/// Births and deaths by site.
struct Sites {
    watched: Duration,
    counts: std::collections::HashMap<u64, (u64, u64)>,
}

/// Everything that a command line names.
pub fn targets(words: &[OsString], tree: Option<i32>) -> Result<Vec<Observed>, Error> {
    let looks = match tree {
        Some(pid) => family(pid)?,
        None => {
            let look = |word: &OsString| of_target(resolve(word)?);
            words.iter().map(look).collect::<Result<Vec<_>, _>>()?
        }
    };
    let mut seen = std::collections::BTreeSet::new();
    let mut looks = looks;
    looks.retain(|look| seen.insert((look.process.pid, look.process.started_at)));
    let observed = |snapshot| Observed {
        snapshot,
        first: None,
    };
    Ok(looks.into_iter().map(observed).collect())
}

/// A process and its descendants, as far as the library is in them and has a
/// record: what came or went meanwhile is no reason to fail.
fn family(pid: i32) -> Result<Vec<Snapshot>, Error> {
    let root = Running::find(pid).ok_or(TargetError::NoSuchPid(pid))?;
    let (mut looks, mut last) = (Vec::new(), None);
    for member in descendants(root) {
        match by_pid(member) {
            Ok(
                target @ Target::Live {
                    segment: Some(_), ..
                },
            ) => match of_target(target) {
                Ok(snapshot) => looks.push(snapshot),
                Err(error) => last = Some(error),
            },
            Ok(_) => {}
            Err(error) => last = Some(error),
        }
    }
    match (looks.is_empty(), last) {
        (false, _) => Ok(looks),
        (true, Some(error)) => Err(error),
        (true, None) => Err(TargetError::NotInstrumented(pid).into()),
    }
}

/// Pids, the parent first.
fn descendants(root: Running) -> Vec<i32> {
    let all: Vec<(i32, i32)> = process::all()
        .filter_map(|process| Some((process.pid, parent_of(process.pid)?)))
        .collect();
    let mut found = vec![root.pid];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        let mut children: Vec<i32> = all
            .iter()
            .filter(|(pid, of)| *of == parent && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        children.sort_unstable();
        found.extend(children);
        at += 1;
    }
    found
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Watches for a while and looks again.
pub fn watch(all: &mut [Observed], long: Duration) -> Result<(), Error> {
    if let Some(still) = all.iter().find(|one| !is_live(&one.snapshot)) {
        let name = still.snapshot.process.name().to_owned();
        return Err(Error::Usage(format!(
            "`{name}` has ended or is a saved snapshot, and --for watches a running process; leave it out."
        )));
    }
    let before: Vec<Earlier> = all.iter().map(|one| Earlier::of(&one.snapshot)).collect();
    wait(long);
    for (one, before) in all.iter_mut().zip(&before) {
        let first = Sites::of(&one.snapshot, long);
        if again(&mut one.snapshot, before) {
            one.first = Some(first);
        } else {
            let note = "It ended while it was watched; this is how it stood before.";
            one.snapshot.coverage.notes.push(note.to_owned());
        }
    }
    Ok(())
}

fn is_live(snapshot: &Snapshot) -> bool {
    snapshot.fresh && snapshot.process.alive
}

/// Replaces a look by a new one at the same process.
fn again(snapshot: &mut Snapshot, before: &Earlier) -> bool {
    let now = by_pid(snapshot.process.pid).and_then(of_target);
    match now {
        Ok(mut now) if now.identity == snapshot.identity && now.process.alive => {
            before.sharpen(&mut now);
            *snapshot = now;
            true
        }
        _ => false,
    }
}

/// Looks a second time, a moment later, where that may settle a verdict:
/// something is suspected of stdio files whose use only their position shows.
pub fn settle(one: &mut Observed, wanted: &Wanted, known: &Known) {
    let open_question = |snapshot: &Snapshot| {
        let (found, _) = find(snapshot, wanted, &known.context());
        found
            .iter()
            .filter(|found| found.verdict() < Verdict::Early)
            .flat_map(|found| &found.descriptors)
            .map(|at| &snapshot.descriptors[*at])
            .any(|open| position(open).is_some() && open.still_since_ms.is_none())
    };
    if is_live(&one.snapshot) && open_question(&one.snapshot) {
        let before = Earlier::of(&one.snapshot);
        std::thread::sleep(MOMENT);
        if again(&mut one.snapshot, &before) {
            known.process.correct(&mut one.snapshot);
        }
    }
}

/// Waits, and on a terminal says for how long.
fn wait(long: Duration) {
    let start = Instant::now();
    let mut screen = std::io::stderr();
    let shown = screen.is_terminal();
    while let Some(left) = long
        .checked_sub(start.elapsed())
        .filter(|left| !left.is_zero())
    {
        if shown {
            let left = span(left.as_secs_f64().ceil());
            let _ = write!(screen, "\rwatching for another {left} \x1b[K");
        }
        std::thread::sleep(left.min(Duration::from_secs(1)));
    }
    if shown {
        let _ = write!(screen, "\r\x1b[K");
    }
}

impl Sites {
    fn of(snapshot: &Snapshot, watched: Duration) -> Self {
        let counts = snapshot.sites.all.iter();
        Self {
            watched,
            counts: counts
                .map(|site| (site.key, (site.stats.births, site.stats.deaths)))
                .collect(),
        }
    }
}

impl Observed {
    /// Says of each finding what came and went while it was watched. A sample
    /// of the heap is too coarse for that.
    pub fn tell(&self, report: &mut Report) {
        let Some(first) = &self.first else { return };
        for site in &self.snapshot.sites.all {
            let Some(kind) = site.kind else { continue };
            let id = finding_id(kind, site.key);
            let (births, deaths) = first.counts.get(&site.key).copied().unwrap_or_default();
            let made = site.stats.births.saturating_sub(births);
            let closed = site.stats.deaths.saturating_sub(deaths);
            let exact = kind != Kind::Memory || report.coverage.exact();
            for finding in report
                .findings
                .iter_mut()
                .filter(|finding| exact && finding.id == id)
            {
                finding.evidence.push(format!(
                    "In the {} that it was watched, {} more came and {} went.",
                    span(first.watched.as_secs_f64()),
                    count(made),
                    count(closed)
                ));
            }
        }
    }
}
