//! Timers, registrations, watches, ended threads and children: the library's
//! rows checked against the kernel's lists.
//!
//! The kernel is the truth here as for descriptors. A row that it does not
//! confirm is dropped and counted; what it lists and no row tells of is of
//! unknown origin, and kept where it matters by itself.

use std::collections::{BTreeMap, BTreeSet};

use shm_protocol::codes::Kind as Row;
use shm_protocol::view::ThingInfo;

use super::facts::{Facts, PosixTimerFact, RegistrationFact, StaleFact, WatchFact};
use super::kinds;
use super::sites::Sites;
use crate::model::Kind;
use crate::units::{bytes, span};

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThingState {
    /// In use, as far as anybody can tell
    Live,
    /// A registration whose number is closed or names another file: a proof
    Stale,
    /// A timer that is set
    Armed,
    /// A timer that is not set
    Disarmed,
    /// A thread that ended and that nobody joined
    Ended,
    /// A child that ended and that nobody waited for
    Zombie,
}

impl ThingState {
    /// The word in JSON and text.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Armed => "armed",
            Self::Disarmed => "disarmed",
            Self::Ended => "ended",
            Self::Zombie => "zombie",
        }
    }
}

/// One thing that is held and takes no descriptor.
#[derive(Debug, Clone, PartialEq)]
pub struct Thing {
    /// The group `--kind` selects by
    pub kind: Kind,
    /// What exactly
    pub row: Row,
    /// The segment's number of its site
    pub site: Option<u32>,
    /// When it was made, ms since the segment was made; of a thread, when it
    /// ended, since only then it waits to be joined
    pub born_ms: Option<u64>,
    /// When the owner last used it: set or asked a timer, changed a
    /// registration, renewed a watch
    pub used_ms: Option<u64>,
    /// For people: `epoll 7 -> fd 12`, `timer 3, SIGALRM, every 1 s`
    pub what: String,
    /// How it stands
    pub state: ThingState,
    /// What it holds: a thread's stack
    pub bytes: Option<u64>,
    /// A stale registration, as the kernel lists it
    pub stale: Option<RegistrationFact>,
    /// A POSIX timer's number, which the kernel gives
    pub timer: Option<u32>,
    /// A watch, as the kernel lists it
    pub watch: Option<WatchFact>,
}

/// The outcome of checking.
#[derive(Debug, Default)]
pub struct Checked {
    /// What there is
    pub things: Vec<Thing>,
    /// Rows that the kernel did not confirm
    pub dropped: u64,
    /// Sites of watches that it removed by itself, one each: what they watched is
    /// gone
    pub removed: Vec<u32>,
}

/// An ended thread's number may show in the kernel's list so long.
const ENDING_MS: u64 = 2_000;

/// Checks the rows against the kernel's lists, as far as there are any.
///
/// For a process that ended, the lists are of its last look: what was made
/// after it is believed as it stands.
#[must_use]
pub fn reconcile(rows: &[ThingInfo], facts: &Facts) -> Checked {
    let lists = Lists::of(facts);
    let mut checked = Checked::default();
    let mut told = BTreeSet::new();
    for row in rows {
        match lists.confirm(row, facts) {
            Answer::Is(what, state) => {
                told.insert((row.kind as u8, row.key));
                let watch = lists.watch(row);
                checked.things.push(Thing {
                    watch,
                    ..thing(row, what, state)
                });
            }
            Answer::Among(registrations) => {
                told.insert((row.kind as u8, row.key));
                checked.things.extend(of_number(row, registrations));
            }
            Answer::IsNot => {
                checked.dropped += 1;
                checked.removed.extend(removed(row, facts));
            }
            Answer::NotHeld => {
                told.insert((row.kind as u8, row.key));
            }
        }
    }
    checked.things.extend(lists.without_row(&told));
    checked
}

/// The site of a watch that is gone while its inotify is still open.
fn removed(row: &ThingInfo, facts: &Facts) -> Option<u32> {
    let (inotify, _) = row.numbers();
    let open = facts.descriptor(inotify as i32)?;
    let is_watch = row.kind == Row::Watch && open.what == "inotify";
    Some(row.row.origin.site).filter(|site| is_watch && *site != 0)
}

enum Answer<'a> {
    /// The kernel lists these under its number
    Among(&'a [RegistrationFact]),
    /// It is there.
    Is(String, ThingState),
    /// The kernel knows no such thing.
    IsNot,
    /// It is there, and as it should be.
    NotHeld,
}

fn thing(row: &ThingInfo, what: String, state: ThingState) -> Thing {
    let origin = row.row.origin;
    Thing {
        kind: kinds::group_of(row.kind).unwrap_or(Kind::Listeners),
        row: row.kind,
        site: Some(origin.site).filter(|site| *site != 0),
        born_ms: Some(origin.at_ms),
        used_ms: Some(row.row.used_ms).filter(|used| *used != 0),
        what,
        state,
        bytes: (row.kind == Row::Thread).then(|| row.thread().1),
        stale: None,
        timer: (row.kind == Row::PosixTimer).then(|| row.numbers().1),
        watch: None,
    }
}

/// The kernel's lists, by number.
struct Lists<'a> {
    timers: Option<BTreeMap<u32, &'a PosixTimerFact>>,
    registrations: Option<BTreeMap<(i32, i32), Vec<RegistrationFact>>>,
    watches: Option<BTreeMap<(i32, i32), (u64, u64)>>,
    threads: Option<BTreeSet<u32>>,
    /// Whether each is a zombie
    children: Option<BTreeMap<u32, bool>>,
}

impl<'a> Lists<'a> {
    fn of(facts: &'a Facts) -> Self {
        Self {
            timers: facts
                .posix_timers
                .as_ref()
                .map(|all| all.iter().map(|one| (one.id as u32, one)).collect()),
            registrations: facts.registrations.as_ref().map(|all| by_number(all)),
            watches: facts.watches.as_ref().map(|all| {
                let one = |one: &WatchFact| ((one.inotify, one.watch), one.object);
                all.iter().map(one).collect()
            }),
            threads: facts
                .threads
                .as_ref()
                .map(|all| all.iter().map(|tid| *tid as u32).collect()),
            children: facts
                .children
                .as_ref()
                .map(|all| all.iter().map(|one| (one.pid as u32, one.zombie)).collect()),
        }
    }

    fn watch(&self, row: &ThingInfo) -> Option<WatchFact> {
        let (inotify, watch) = row.numbers();
        let (inotify, watch) = (inotify as i32, watch as i32);
        let listed = self.watches.as_ref().filter(|_| row.kind == Row::Watch)?;
        let object = *listed.get(&(inotify, watch))?;
        Some(WatchFact {
            inotify,
            watch,
            object,
        })
    }

    fn confirm(&self, row: &ThingInfo, facts: &Facts) -> Answer<'_> {
        let (high, low) = row.numbers();
        let pair = (high as i32, low as i32);
        let after_the_look = !facts.alive
            && facts
                .moment_ms
                .is_some_and(|moment| row.row.origin.at_ms > moment);
        match row.kind {
            Row::PosixTimer => timer(row, low, after_the_look, self.timers.as_ref()),
            Row::Registration if after_the_look => live(registered(pair)),
            Row::Registration => match self.registrations.as_ref().map(|all| all.get(&pair)) {
                Some(None) => Answer::IsNot,
                Some(Some(listed)) => Answer::Among(listed),
                None => live(registered(pair)),
            },
            Row::Watch if after_the_look => live(watched(pair, None)),
            Row::Watch => match self.watches.as_ref().map(|all| all.get(&pair)) {
                Some(None) => Answer::IsNot,
                list => live(watched(pair, list.flatten())),
            },
            Row::Thread => self.thread(row, facts),
            _ => match self.children.as_ref().map(|all| all.get(&low)) {
                Some(Some(true)) => {
                    let what = format!("child {low}, ended, never waited for");
                    Answer::Is(what, ThingState::Zombie)
                }
                Some(None) if !after_the_look => Answer::IsNot,
                // It runs, or nobody can tell.
                _ => Answer::NotHeld,
            },
        }
    }

    /// An ended thread is in no list. One that is, under a number that is not
    /// its successor's, has not quite ended.
    fn thread(&self, row: &ThingInfo, facts: &Facts) -> Answer<'_> {
        let (tid, stack_bytes) = row.thread();
        let listed = self.threads.as_ref().is_some_and(|all| all.contains(&tid));
        let since_ms = facts
            .moment_ms
            .map(|moment| moment.saturating_sub(row.row.origin.at_ms));
        if listed && since_ms.is_some_and(|since| since < ENDING_MS) {
            return Answer::NotHeld;
        }
        let what = format!("thread {tid}, ended, stack {}", bytes(stack_bytes));
        Answer::Is(what, ThingState::Ended)
    }

    /// What no row tells of, where it matters by itself.
    fn without_row(&self, told: &BTreeSet<(u8, u64)>) -> Vec<Thing> {
        use shm_protocol::plain::pair;
        let mut things = Vec::new();
        let unknown = |row: Row, what, state| Thing {
            kind: kinds::group_of(row).unwrap_or(Kind::Listeners),
            row,
            site: None,
            born_ms: None,
            used_ms: None,
            what,
            state,
            bytes: None,
            stale: None,
            timer: None,
            watch: None,
        };
        for (id, timer) in self.timers.iter().flatten() {
            if !told.contains(&(Row::PosixTimer as u8, pair(1, *id))) {
                let what = format!("timer {id}, {}", timer.tells());
                things.push(unknown(Row::PosixTimer, what, ThingState::Live));
            }
        }
        for (numbers, listed) in self.registrations.iter().flatten() {
            let key = pair(numbers.0 as u32, numbers.1 as u32);
            if told.contains(&(Row::Registration as u8, key)) {
                continue;
            }
            let stale = listed
                .iter()
                .filter_map(|one| Some((stale(*numbers, one.stale?), *one)));
            things.extend(stale.map(|(what, one)| Thing {
                stale: Some(one),
                ..unknown(Row::Registration, what, ThingState::Stale)
            }));
        }
        for (pid, _) in self
            .children
            .iter()
            .flatten()
            .filter(|(_, zombie)| **zombie)
        {
            if !told.contains(&(Row::Child as u8, pair(1, *pid))) {
                let what = format!("child {pid}, ended, never waited for");
                things.push(unknown(Row::Child, what, ThingState::Zombie));
            }
        }
        things
    }
}

fn by_number(all: &[RegistrationFact]) -> BTreeMap<(i32, i32), Vec<RegistrationFact>> {
    let mut lists: BTreeMap<(i32, i32), Vec<RegistrationFact>> = BTreeMap::new();
    for one in all {
        lists.entry((one.epoll, one.fd)).or_default().push(*one);
    }
    lists
}

/// All that the kernel lists under a row's numbers. The row is of the newest;
/// earlier ones under the same numbers are taken to be of the same site.
fn of_number(row: &ThingInfo, listed: &[RegistrationFact]) -> Vec<Thing> {
    let (epoll, fd) = row.numbers();
    let numbers = (epoll as i32, fd as i32);
    let newest_first = listed.iter().filter(|one| one.stale.is_none());
    let newest_first = newest_first.chain(listed.iter().filter(|one| one.stale.is_some()));
    let things = newest_first.enumerate().map(|(at, one)| {
        let made = match one.stale {
            None => thing(row, registered(numbers), ThingState::Live),
            Some(why) => thing(row, stale(numbers, why), ThingState::Stale),
        };
        Thing {
            born_ms: made.born_ms.filter(|_| at == 0),
            stale: one.stale.is_some().then_some(*one),
            ..made
        }
    });
    things.collect()
}

fn live(what: String) -> Answer<'static> {
    Answer::Is(what, ThingState::Live)
}

fn registered((epoll, fd): (i32, i32)) -> String {
    format!("epoll {epoll} -> fd {fd}")
}

fn stale((epoll, fd): (i32, i32), why: StaleFact) -> String {
    let why = match why {
        StaleFact::Closed => "which is closed",
        StaleFact::Another => "which names another file now",
    };
    format!("epoll {epoll} -> fd {fd}, {why}")
}

fn watched((inotify, watch): (i32, i32), object: Option<&(u64, u64)>) -> String {
    let on = object.map(|(_, inode)| format!(" on inode {inode}"));
    format!("inotify {inotify}, watch {watch}{}", on.unwrap_or_default())
}

fn timer<'a>(
    row: &ThingInfo,
    id: u32,
    after_the_look: bool,
    list: Option<&BTreeMap<u32, &PosixTimerFact>>,
) -> Answer<'a> {
    let fact = list.and_then(|all| all.get(&id));
    if fact.is_none() && list.is_some() && !after_the_look {
        return Answer::IsNot;
    }
    let tells = fact.map(|fact| format!(", {}", fact.tells()));
    let (set, state) = match row.period_ms() {
        None => ("not set".to_owned(), ThingState::Disarmed),
        Some(0) => ("set once".to_owned(), ThingState::Armed),
        Some(ms) => (
            format!("every {}", span(ms as f64 / 1000.0)),
            ThingState::Armed,
        ),
    };
    Answer::Is(
        format!("timer {id}{}, {set}", tells.unwrap_or_default()),
        state,
    )
}

/// Gives each thing to its site. A stale one of unknown origin is given to a
/// site of its own, since it is a finding by itself.
pub fn add(things: &[Thing], sites: &mut Sites) {
    for (at, thing) in things.iter().enumerate() {
        let site = thing.site.and_then(|id| sites.index(id));
        let site = match (site, thing.state) {
            (None, ThingState::Stale) => Some(sites.unknown(thing.kind)),
            (site, _) => site,
        };
        let Some(site) = site else { continue };
        let live = &mut sites.all[site].live;
        live.things.push(at);
        if let Some(born_ms) = thing.born_ms {
            live.add(born_ms, 1.0, thing.bytes.unwrap_or(0) as f64);
        }
    }
}

/// Tells each site how many of its watches the kernel removed.
pub fn add_removed(removed: &[u32], sites: &mut Sites) {
    for site in removed
        .iter()
        .filter_map(|id| sites.index(*id))
        .collect::<Vec<_>>()
    {
        sites.all[site].live.removed += 1;
    }
}

#[cfg(test)]
mod tests;
