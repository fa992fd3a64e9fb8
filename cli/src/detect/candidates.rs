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
    /// Indexes of the descriptors, one a holding; empty for the heap
    pub descriptors: Vec<usize>,
    /// The same, as the model takes it
    pub holdings: Vec<Holding>,
}

impl Candidate {
    /// The site's descriptors that `keep` lets pass, oldest first; or its
    /// blocks, if it makes those.
    #[must_use]
    pub fn of(
        snapshot: &Snapshot,
        at: usize,
        kind: Kind,
        wanted: &Wanted,
        keep: impl Fn(usize) -> bool,
    ) -> Self {
        let site = &snapshot.sites.all[at];
        let young = |born: u64| wanted.born_after_ms.is_none_or(|after| born > after);
        if !kind.takes_descriptor() {
            let born = site.live.births_ms.iter().copied();
            return Self {
                site: at,
                descriptors: Vec::new(),
                holdings: born
                    .filter(|born| young(*born))
                    .map(Holding::silent)
                    .collect(),
            };
        }
        let mut open: Vec<(usize, Holding)> = (site.live.descriptors.iter().copied())
            .filter(|open| keep(*open))
            .filter_map(|open| Some((open, holding(snapshot, &snapshot.descriptors[open])?)))
            .filter(|(_, holding)| young(holding.born_ms))
            .collect();
        open.sort_by_key(|(_, holding)| holding.born_ms);
        let (descriptors, holdings) = open.into_iter().unzip();
        Self {
            site: at,
            descriptors,
            holdings,
        }
    }

    /// Keeps only those holdings, and their descriptors.
    pub fn keep(&mut self, keep: impl Fn(&Holding) -> bool) {
        if !self.descriptors.is_empty() {
            let both = self.descriptors.iter().zip(&self.holdings);
            let kept = both.filter(|(_, one)| keep(one)).map(|(open, _)| *open);
            self.descriptors = kept.collect();
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
