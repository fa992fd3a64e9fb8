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
        let held: Vec<(Option<Held>, Holding)> = if !live.things.is_empty() {
            things(snapshot, &live.things, keep)
        } else if kind.takes_descriptor() {
            descriptors(snapshot, &live.descriptors, keep)
        } else {
            let born = live.births_ms.iter().copied();
            born.map(|born| (None, Holding::silent(born))).collect()
        };
        let mut one = Self {
            site: at,
            ..Self::default()
        };
        let mut held: Vec<_> = held
            .into_iter()
            .filter(|(_, holding)| young(holding))
            .collect();
        held.sort_by_key(|(_, holding)| holding.born_ms);
        for (held, holding) in held {
            match held {
                Some(Held::Descriptor(open)) => one.descriptors.push(open),
                Some(Held::Thing(thing)) => one.things.push(thing),
                None => {}
            }
            one.holdings.push(holding);
        }
        one
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
        SiteData {
            births: stats.births,
            deaths: stats.deaths,
            lifetimes: &stats.lifetimes,
            longest_ms: stats.longest_ms,
            points: &stats.points,
            first_ms: stats.first_ms,
            since_ms: wanted.born_after_ms.unwrap_or(0).max(stats.first_ms),
            now_ms: snapshot.moment_ms,
            live: self.holdings.clone(),
            floor_ms: millis(floor(kind, wanted)),
            prior: context.priors.of(site.key, kind),
        }
    }
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
) -> Vec<(Option<Held>, Holding)> {
    let kept = open.iter().map(|at| (Held::Descriptor(*at), *at));
    kept.filter(|(held, _)| keep(*held))
        .filter_map(|(held, at)| Some((Some(held), holding(snapshot, &snapshot.descriptors[at])?)))
        .collect()
}

fn things(
    snapshot: &Snapshot,
    all: &[usize],
    keep: impl Fn(Held) -> bool,
) -> Vec<(Option<Held>, Holding)> {
    let kept = all.iter().map(|at| (Held::Thing(*at), *at));
    kept.filter(|(held, _)| keep(*held))
        .filter_map(|(held, at)| {
            let holding = super::things::holding(snapshot, &snapshot.things[at])?;
            Some((Some(held), holding))
        })
        .collect()
}

fn holding(snapshot: &Snapshot, open: &Descriptor) -> Option<Holding> {
    let idle_s = snapshot.idle_s(open).filter(|_| !open.elsewhere);
    Some(Holding {
        born_ms: open.born_ms?,
        idle: idle_s.map_or(Idle::Unknown, |idle| Idle::Known((idle * 1000.0) as u64)),
        abandoned: abandoned(open),
    })
}

/// The kernel says that the owner does not care: the peer has gone and
/// nothing waits to be sent.
fn abandoned(open: &Descriptor) -> bool {
    let socket = open.fact.as_ref().and_then(|fact| fact.socket.as_ref());
    socket.is_some_and(|socket| {
        socket.state.as_deref() == Some("CLOSE_WAIT") && socket.send_queue == Some(0)
    })
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
