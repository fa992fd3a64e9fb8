//! From a snapshot to what the model is told: what each site holds, and what
//! is known of its use.

use std::time::Duration;

use super::model::constants::{FLOOR, SOCKET_FLOOR};
use super::model::{Holding, Idle, SiteData};
use super::{Context, Wanted};
use crate::model::Kind;
use crate::snapshot::{Descriptor, Site, Snapshot};

/// What one site holds of what is asked for.
#[derive(Debug, Clone, Default)]
pub struct Candidate {
    /// Index of the site in the snapshot
    pub site: usize,
    /// Indexes of the descriptors, one a holding; empty for all else
    pub descriptors: Vec<usize>,
    /// Indexes of the things, one a holding; empty for all else
    pub things: Vec<usize>,
    /// The same, as the model takes it
    pub holdings: Vec<Holding>,
}

/// One of them, by its index in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// An open descriptor
    Descriptor(usize),
    /// A timer, watch, thread and so on
    Thing(usize),
}

impl Candidate {
    /// The site's descriptors or things that `keep` lets pass, oldest first;
    /// or its blocks, if it makes those.
    #[must_use]
    pub fn of(
        snapshot: &Snapshot,
        at: usize,
        kind: Kind,
        wanted: &Wanted,
        keep: impl Fn(Held) -> bool,
    ) -> Self {
        let live = &snapshot.sites.all[at].live;
        let young = |holding: &Holding| {
            wanted
                .born_after_ms
                .is_none_or(|after| holding.born_ms > after)
        };
        let held: Vec<(Held, Holding)> = if !live.things.is_empty() {
            things(snapshot, &live.things, keep)
        } else if kind.takes_descriptor() {
            descriptors(snapshot, &live.descriptors, keep)
        } else {
            return Self::of_blocks(at, &live.births_ms, young);
        };
        let mut one = Self {
            site: at,
            holdings: Vec::with_capacity(held.len()),
            ..Self::default()
        };
        let mut held: Vec<_> = held
            .into_iter()
            .filter(|(_, holding)| young(holding))
            .collect();
        held.sort_by_key(|(_, holding)| holding.born_ms);
        for (held, holding) in held {
            match held {
                Held::Descriptor(open) => one.descriptors.push(open),
                Held::Thing(thing) => one.things.push(thing),
            }
            one.holdings.push(holding);
        }
        one
    }

    /// There may be millions of them.
    fn of_blocks(at: usize, births_ms: &[u64], young: impl Fn(&Holding) -> bool) -> Self {
        let born = births_ms.iter().copied().map(Holding::silent);
        Self {
            site: at,
            holdings: born.filter(young).collect(),
            ..Self::default()
        }
    }

    /// Keeps only those holdings, and what they are.
    pub fn keep(&mut self, keep: impl Fn(&Holding) -> bool) {
        for indexes in [&mut self.descriptors, &mut self.things] {
            if !indexes.is_empty() {
                let both = indexes.iter().zip(&self.holdings);
                *indexes = both
                    .filter(|(_, one)| keep(one))
                    .map(|(at, _)| *at)
                    .collect();
            }
        }
        self.holdings.retain(|one| keep(one));
    }

    /// What the model is told.
    #[must_use]
    pub fn data<'a>(
        &self,
        snapshot: &'a Snapshot,
        kind: Kind,
        wanted: &Wanted,
        context: &Context<'_>,
    ) -> SiteData<'a> {
        let site: &Site = &snapshot.sites.all[self.site];
        let stats = &site.stats;
        let now_ms = last_sign_ms(site).min(snapshot.moment_ms);
        let still_ms = snapshot.moment_ms - now_ms;
        SiteData {
            births: stats.births,
            deaths: stats.deaths,
            lifetimes: &stats.lifetimes,
            longest_ms: stats.longest_ms,
            points: &stats.points,
            first_ms: stats.first_ms,
            since_ms: wanted.born_after_ms.unwrap_or(0).max(stats.first_ms),
            now_ms,
            still_ms,
            live: (self.holdings.iter())
                .map(|one| one.before(still_ms))
                .collect(),
            sampled: kind == Kind::Memory && !snapshot.coverage.exact(),
            floor_ms: millis(floor(kind, wanted)),
            prior: context.priors.of(site.key, kind),
        }
    }
}

/// When the site last made or gave back something, as far as is recorded. From
/// then on it stands still, because its program does or because nobody asks
/// anything of it: what it holds only gets older, which says nothing.
fn last_sign_ms(site: &Site) -> u64 {
    let point = site.stats.points.last().map_or(0, |point| point.at_ms);
    let birth = site.live.births_ms.last().copied().unwrap_or(0);
    point.max(birth).max(site.stats.first_ms)
}

/// The least age that counts as old; `--min-age` replaces it.
#[must_use]
pub fn floor(kind: Kind, wanted: &Wanted) -> Duration {
    let built_in = match kind {
        Kind::Sockets => SOCKET_FLOOR,
        _ => FLOOR,
    };
    wanted.min_age.unwrap_or(built_in)
}

/// Whole milliseconds.
#[must_use]
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn descriptors(
    snapshot: &Snapshot,
    open: &[usize],
    keep: impl Fn(Held) -> bool,
) -> Vec<(Held, Holding)> {
    let kept = open.iter().map(|at| (Held::Descriptor(*at), *at));
    kept.filter(|(held, _)| keep(*held))
        .filter_map(|(held, at)| Some((held, holding(snapshot, &snapshot.descriptors[at])?)))
        .collect()
}

fn things(snapshot: &Snapshot, all: &[usize], keep: impl Fn(Held) -> bool) -> Vec<(Held, Holding)> {
    let kept = all.iter().map(|at| (Held::Thing(*at), *at));
    kept.filter(|(held, _)| keep(*held))
        .filter_map(|(held, at)| {
            let holding = super::things::holding(snapshot, &snapshot.things[at])?;
            Some((held, holding))
        })
        .collect()
}

fn holding(snapshot: &Snapshot, open: &Descriptor) -> Option<Holding> {
    let idle_s = snapshot
        .idle_s(open)
        .filter(|_| !open.elsewhere && !works(open) && !owes(open));
    let idle = idle_s.map_or(Idle::Unknown, |idle| Idle::Known((idle * 1000.0) as u64));
    Some(Holding {
        born_ms: open.born_ms?,
        idle: if is_waited_on(open) {
            Idle::Known(0)
        } else {
            idle
        },
        abandoned: abandoned(open),
    })
}

/// A timer that is set works without a call, as long as somebody reads it.
fn works(open: &Descriptor) -> bool {
    let timer = open.fact.as_ref().and_then(|fact| fact.timer.as_ref());
    timer.is_some_and(|timer| timer.armed && timer.unread_ticks == 0)
}

/// A thread waits in a call on it at this moment.
fn is_waited_on(open: &Descriptor) -> bool {
    open.fact.as_ref().and_then(|fact| fact.blocked) == Some(true)
}

/// The kernel says that the owner does not care: the peer has gone and
/// nothing waits to be sent.
fn abandoned(open: &Descriptor) -> bool {
    let socket = open.fact.as_ref().and_then(|fact| fact.socket.as_ref());
    socket.is_some_and(|socket| {
        let peer_gone = socket.state.as_deref() == Some("CLOSE_WAIT") && !socket.peer_waits;
        peer_gone && socket.send_queue == Some(0)
    })
}

/// The peer has sent all it will and is known to wait for the answer, however
/// long the program works at that: silence is no sign.
fn owes(open: &Descriptor) -> bool {
    let socket = open.fact.as_ref().and_then(|fact| fact.socket.as_ref());
    socket.is_some_and(|socket| socket.peer_waits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn min_age_replaces_every_floor() {
        let usual = Wanted::default();
        assert_eq!(floor(Kind::Sockets, &usual), Duration::from_secs(120));
        assert_eq!(floor(Kind::Pipes, &usual), Duration::from_secs(30));
        let asked = Wanted {
            min_age: Some(Duration::from_secs(1)),
            ..usual
        };
        assert_eq!(floor(Kind::Sockets, &asked), Duration::from_secs(1));
        assert_eq!(millis(Duration::MAX), u64::MAX);
    }
}
