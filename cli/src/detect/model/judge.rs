//! From what was measured of all sites of one kind to a verdict on each.

use super::constants::{FALSE_SHARE, FEWEST_RECENT, SUREST, SUREST_GROWING, SUREST_SUSPECT};
use super::false_share::adjusted;
use super::measure::{Chances, Measured};
use crate::model::Verdict;

/// Why a verdict is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// All three questions agree
    Agree,
    /// It keeps growing and hardly ever gives back, so nothing compares
    HardlyFreed,
    /// It looks like a leak, but nothing tells whether the old ones are used
    NoActivity,
    /// It looks like a leak, but the old ones are used
    Busy,
    /// Too few were given back for "closing stopped" to mean much
    FewLives,
    /// Those that stay came at a few moments, which may be all
    FewMoments,
    /// No new survivors came lately
    Settled,
    /// New survivors came, but it may be chance
    Unclear,
    /// An earlier run held as many and then grew no further
    Plateau,
    /// Not observed for long enough
    Young,
    /// An earlier alarm was false: more looks must agree
    AfterFalseAlarm,
    /// Decided at the next look that counts
    NextLook,
    /// Decided at the last look that counted
    LastLook,
    /// An earlier look proved it; no more came since, and none was given back
    Stopped,
    /// The kernel's records prove it
    Proven,
    /// A person said so
    Labelled,
    /// A fix has ended it; only its number is still held
    HungUp,
}

/// A verdict and what it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// How sure
    pub verdict: Verdict,
    /// Why
    pub why: Why,
    /// 0 to 1, where it can be said
    pub confidence: Option<f64>,
    /// The chance of an error, all looks and sites of the kind considered
    pub chance: f64,
}

impl Decision {
    /// Whether it is about those that are old and unused only; else about all
    /// that is held.
    #[must_use]
    pub fn is_of_the_lost(&self) -> bool {
        self.verdict == Verdict::Leak
            && matches!(self.why, Why::Agree | Why::LastLook | Why::Stopped)
    }
}

/// Whether growth without any sign of use may be a cache: heap and mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Descriptors, timers, threads: scarce, and meant to be given back
    Scarce,
    /// Memory
    Roomy,
}

/// Judges all sites of one kind together.
#[must_use]
pub fn judge(sites: &[Measured], sort: Sort, number: u32) -> Vec<Decision> {
    let spent = |pick: fn(Chances) -> f64| -> Vec<f64> {
        let chances = sites.iter().map(|site| site.spend(pick(site.chances())));
        adjusted(&chances.collect::<Vec<f64>>())
    };
    let both = spent(|chances| chances.all).into_iter();
    let both = both.zip(spent(|chances| chances.growth));
    sites
        .iter()
        .zip(both)
        .map(|(site, (strict, growth))| one(site, strict, growth, sort, number))
        .collect()
}

fn one(site: &Measured, strict: f64, growth: f64, sort: Sort, number: u32) -> Decision {
    let (verdict, why) = tier(site, strict, growth, sort);
    let too_soon = verdict < Verdict::Early && number <= site.extra_looks;
    let (verdict, why) = if too_soon {
        (Verdict::Early, Why::AfterFalseAlarm)
    } else {
        (verdict, why)
    };
    let chance = if verdict == Verdict::Leak {
        strict
    } else {
        growth
    };
    Decision {
        verdict,
        why,
        confidence: confidence(verdict, chance),
        chance,
    }
}

fn tier(site: &Measured, strict: f64, growth: f64, sort: Sort) -> (Verdict, Why) {
    if site.has_settled() {
        return (Verdict::Held, Why::Settled);
    }
    if site.observed_ms < site.long_enough_ms() {
        return (Verdict::Early, Why::Young);
    }
    if site.coming.lately < FEWEST_RECENT {
        return (Verdict::Held, Why::Settled);
    }
    if strict <= FALSE_SHARE {
        return (Verdict::Leak, Why::Agree);
    }
    if growth > FALSE_SHARE {
        return (Verdict::Held, Why::Unclear);
    }
    if site.within_plateau {
        return (Verdict::Held, Why::Plateau);
    }
    growing(site, sort)
}

/// It grows; what else is known?
fn growing(site: &Measured, sort: Sort) -> (Verdict, Why) {
    let passes = |chance| site.spend(chance) <= FALSE_SHARE;
    let unused = passes(site.using.chance());
    let unknown = !unused && site.using.unknown > 0 && passes(site.using.chance_at_best());
    let hardly = site.closing.is_none();
    match (hardly, unused, unknown) {
        (true, true, _) => (Verdict::Growing, Why::HardlyFreed),
        (true, _, true) if sort == Sort::Roomy => (Verdict::Growing, Why::HardlyFreed),
        (_, _, true) => (Verdict::Suspect, Why::NoActivity),
        (_, true, _) if site.came_seldom() => (Verdict::Suspect, Why::FewMoments),
        (_, true, _) => (Verdict::Suspect, Why::FewLives),
        _ => (Verdict::Suspect, Why::Busy),
    }
}

/// One less the chance, as far as the tier can be sure.
pub fn confidence(verdict: Verdict, chance: f64) -> Option<f64> {
    let most = match verdict {
        Verdict::Leak => SUREST,
        Verdict::Growing => SUREST_GROWING,
        Verdict::Suspect => SUREST_SUSPECT,
        Verdict::Early | Verdict::Held => return None,
    };
    Some((((1.0 - chance) * 100.0).floor() / 100.0).clamp(0.0, most))
}
