//! Lines about the past, and about what follows from it, against the log.

use super::model::{STAMP_S, Site, at_least, wilson};
use super::range::{Range, bytes, count, span, spans};

/// What a line is compared with.
#[derive(Debug)]
pub struct Told<'a> {
    /// The site in the log
    pub site: Site<'a>,
    /// What the finding shows, if it shows each
    pub shown: Vec<&'a super::log::Life>,
    /// How many of it the kernel removed
    pub removed: usize,
    /// The age that counts as old, as the finding says it
    pub old: Range,
    /// Descriptors that may still be opened
    pub spare_fds: f64,
    /// Bytes that may still be taken
    pub spare_bytes: Range,
    /// Bytes of one block, where it is about blocks
    pub block_bytes: f64,
    /// How long until the next look that counts
    pub next_look: Range,
}

fn is(shown: Option<f64>, truth: Range) -> bool {
    shown.is_some_and(|shown| Range::about(shown, 0.0).meets(truth))
}

fn spans_over(shown: Option<Range>, truth: Range) -> bool {
    shown.is_some_and(|shown| shown.meets(truth))
}

fn exactly(shown: &str, truth: usize) -> bool {
    count(shown) == Some(truth as f64)
}

impl Told<'_> {
    /// What is so, for a person who has to find out what is wrong.
    pub fn truth(&self) -> String {
        let (site, old) = (&self.site, self.old);
        format!(
            "held {} shown {} of {}, old {old:?} {:?}, last {:?}, longest {:?}, expected {:?}, waited {:?}, \
             lately {:?}, used {:?}",
            site.held.len(),
            self.shown.len(),
            site.all.len(),
            site.made_before(site.last_sign() - old),
            site.at - site.last_sign(),
            site.longest(),
            site.expected(old),
            site.waited(old),
            self.lately(),
            site.used(old)
        )
    }

    /// Whether a line says what is so. None: it is none of these.
    pub fn holds(&self, name: &str, places: &[&str]) -> Option<bool> {
        let site = &self.site;
        Some(match (name, places) {
            ("given back" | "given back at once", [deaths, births, .., within]) => {
                exactly(deaths, site.deaths())
                    && exactly(births, site.all.len())
                    && spans_over(span(within), site.longest())
            }
            ("one given back", [births, .., life]) => {
                exactly(births, site.all.len())
                    && site.deaths() == 1
                    && spans_over(span(life), site.longest())
            }
            ("none given back", [births, ..]) => {
                exactly(births, site.all.len()) && site.deaths() == 0
            }
            ("the one", _) => site.all.len() == 1 && site.deaths() == 0,
            ("proof", [n, ages, _]) => exactly(n, self.shown.len()) && self.ages(ages),
            ("lost", [n, ages, _, rest @ ..]) => {
                let expected = rest.first().filter(|text| span(text).is_none());
                let unused = rest.last().filter(|text| span(text).is_some());
                exactly(n, self.shown.len())
                    && self.ages(ages)
                    && expected.is_none_or(|n| is(count(n), site.expected(self.old).wider(1.0)))
                    && unused.is_none_or(|text| spans_over(span(text), self.unused()))
            }
            ("held bytes on", [n, _, held, ages]) => {
                exactly(n, site.held.len()) && self.bytes(held) && self.ages(ages)
            }
            ("held on", [n, ages]) => exactly(n, site.held.len()) && self.ages(ages),
            ("one held on", [ages]) => site.held.len() == 1 && self.ages(ages),
            ("held bytes", [n, _, held, _, oldest]) => {
                exactly(n, site.held.len()) && self.bytes(held) && self.oldest(oldest)
            }
            ("held", [n, .., oldest]) => exactly(n, site.held.len()) && self.oldest(oldest),
            ("one held", [.., oldest]) => site.held.len() == 1 && self.oldest(oldest),
            ("more", [n, unit]) => self.more(n, unit),
            ("more bytes", [n, each, _, unit]) => {
                let more = count(n).unwrap_or(-1.0) * self.block_bytes;
                self.more(n, unit) && spans_over(bytes(each), Range::about(more, 0.05 * more))
            }
            ("descriptors run out", [left]) => {
                spans_over(span(left), self.lasts(self.spare_fds, self.spare_fds))
            }
            ("memory runs out", [left]) => {
                let spare = self
                    .spare_bytes
                    .times(1.0 / self.block_bytes, 1.0 / self.block_bytes);
                spans_over(span(left), self.lasts(spare.low, spare.high))
            }
            ("too early", [takes]) => spans_over(span(takes), self.old.times(3.0, 3.0)),
            ("next look", [left]) => spans_over(span(left), self.next_look),
            ("stale", [n, ..]) => exactly(n, site.held.len()),
            ("two looks", [ms]) => *ms == "100",
            ("removed", [n]) => exactly(n, self.removed),
            ("lived", [n, lives @ ..]) => exactly(n, site.deaths()) && self.quantiles(lives),
            ("old, proven", [n, age]) => {
                exactly(n, self.shown.len()) && spans_over(span(age), self.old)
            }
            ("old" | "old, then" | "old, longest", [old, held, _, since @ ..]) => {
                let last = site.last_sign();
                let still = since
                    .first()
                    .map_or(Some(true), |since| Some(span(since)?.meets(site.at - last)));
                let by_longest = name == "old, longest";
                let longest = site.longest().times(1.5, 1.5).wider(0.05);
                is(count(old), site.made_before(last - self.old))
                    && exactly(held, site.held.len())
                    && still == Some(true)
                    && by_longest == (longest.meets(self.old) && self.old.low > 1.1)
            }
            ("closing", [_, waited, chance]) => {
                let expected = site.expected(self.old);
                spans_over(span(waited), site.waited(self.old).times(0.97, 1.03))
                    && is_chance(chance, (-expected.high).exp(), (-expected.low).exp())
            }
            ("coming", [lately, half, chance]) => self.coming(lately, half, chance),
            ("using", [old, told, chance @ ..]) => self.using(old, told, chance.first().copied()),
            ("stays", shares) => self.stays(shares),
            _ => return None,
        })
    }

    fn shown_or_held(&self) -> &[&super::log::Life] {
        if self.shown.is_empty() {
            &self.site.held
        } else {
            &self.shown
        }
    }

    fn ages(&self, text: &str) -> bool {
        let ages = || self.shown_or_held().iter().map(|life| self.site.age(life));
        let (youngest, oldest) = (Range::each(ages(), f64::min), Range::each(ages(), f64::max));
        spans(text).is_some_and(|(from, to)| {
            youngest.is_some_and(|age| from.meets(age)) && oldest.is_some_and(|age| to.meets(age))
        })
    }

    fn oldest(&self, text: &str) -> bool {
        let ages = self.shown_or_held().iter().map(|life| self.site.age(life));
        Range::each(ages, f64::max).is_some_and(|age| spans_over(span(text), age))
    }

    /// The shortest time for which one was not used: none was, ever.
    fn unused(&self) -> Range {
        let ages = self.shown.iter().map(|life| self.site.age(life));
        let youngest = Range::each(ages, f64::min).expect("it shows some");
        Range::new(youngest.low - STAMP_S, youngest.high)
    }

    fn bytes(&self, text: &str) -> bool {
        let held = self.site.held.len() as f64 * self.block_bytes;
        spans_over(bytes(text), Range::about(held, 0.02 * held))
    }

    fn lately(&self) -> (Range, Range, Range) {
        let (middle, until) = self.site.halves(self.old);
        let lately = self.site.made_before(until) - self.site.made_before(middle);
        (lately, middle, until)
    }

    /// New survivors per hour, by the later half.
    fn per_hour(&self) -> Range {
        let (lately, middle, until) = self.lately();
        let half = until - middle;
        Range::new(
            lately.low * 3600.0 / half.high,
            lately.high * 3600.0 / half.low,
        )
    }

    fn more(&self, n: &str, unit: &str) -> bool {
        let hours = match unit {
            "minute" => 1.0 / 60.0,
            "hour" => 1.0,
            "day" => 24.0,
            _ => return false,
        };
        is(count(n), self.per_hour().times(hours, hours).wider(1.0))
    }

    fn lasts(&self, low: f64, high: f64) -> Range {
        let per_hour = self.per_hour();
        Range::new(low * 3600.0 / per_hour.high, high * 3600.0 / per_hour.low).wider(1.0)
    }

    /// Half-octave counts give percentiles within a square root of two.
    fn quantiles(&self, texts: &[&str]) -> bool {
        let mut lives = self.site.lives();
        lives.sort_by(|a, b| a.low.total_cmp(&b.low));
        let at = |share: f64| lives[((lives.len() as f64 * share).ceil() as usize).max(1) - 1];
        let truths = [at(0.5), at(0.9), at(0.99)].map(|life| life.times(0.70, 1.42));
        let [half, ninth, last, longest] = texts else {
            return false;
        };
        let told = [half, ninth, last].into_iter().zip(truths);
        told.into_iter()
            .all(|(text, truth)| spans_over(span(text), truth))
            && spans_over(span(longest), self.site.longest())
    }

    fn coming(&self, lately: &str, half: &str, chance: &str) -> bool {
        let site = &self.site;
        let (truth, middle, until) = self.lately();
        let before = site.made_before(middle);
        let births = (site.births_before(middle), site.births_before(until));
        let expected = |before: f64, births_before: f64, births: f64| {
            (0.15 * before / births_before.max(1.0) * (births - births_before)).max(0.5)
        };
        let low = expected(before.low, births.0.high, births.1.low) * 0.8;
        let high = expected(before.high, births.0.low, births.1.high) * 1.25;
        is(count(lately), truth)
            && spans_over(span(half), until - middle)
            && is_chance(chance, at_least(truth.high, low), at_least(truth.low, high))
    }

    fn using(&self, old: &str, told: &str, chance: Option<&str>) -> bool {
        let words = [
            "unused since about their birth",
            "perhaps used later",
            "not known to be used or not",
        ];
        let mut counts = [0.0; 3];
        for part in told.split(", ") {
            let found = words.iter().position(|word| part.ends_with(word));
            let n = part.split(' ').next().and_then(count);
            let (Some(at), Some(n)) = (found, n) else {
                return false;
            };
            counts[at] = n;
        }
        let all: f64 = counts.iter().sum();
        let truths = self.site.used(self.old);
        count(old) == Some(all)
            && counts
                .iter()
                .zip(truths)
                .all(|(n, truth)| is(Some(*n), truth))
            && chance.is_none_or(|text| {
                let chance = at_least(counts[0], 0.2 * all);
                is_chance(text, chance, chance)
            })
    }

    fn stays(&self, shares: &[&str]) -> bool {
        let (_, until) = self.site.halves(self.old);
        let part = self.site.made_before(until);
        let whole = self.site.births_before(until);
        // Births between two checkpoints lie on a line, and no fewer than stay.
        let whole = Range::new(whole.low * 0.97 - 1.0, whole.high * 1.03 + 1.0);
        let least = wilson(part.low, whole.high.max(part.low));
        let most = wilson(part.high, whole.low.max(part.high));
        let shown: Vec<f64> = shares.iter().filter_map(|text| text.parse().ok()).collect();
        shown.len() == 3
            && shown
                .iter()
                .zip(least.into_iter().zip(most))
                .all(|(shown, (low, high))| {
                    // Two decimals below 1 %, none above.
                    let half = if *shown < 1.0 { 0.00005 } else { 0.005 };
                    Range::about(shown / 100.0, half + 1e-9).meets(Range::new(low, high))
                })
    }
}

/// `2.4 % of cases`, `fewer than 1 of 1 000 cases`
fn is_chance(text: &str, low: f64, high: f64) -> bool {
    let between = |least: f64, most: f64| least <= high * 3.0 && low / 3.0 <= most;
    if let Some(percent) = text.strip_suffix(" % of cases") {
        let Ok(percent) = percent.parse::<f64>() else {
            return false;
        };
        return between((percent - 0.05) / 100.0, (percent + 0.05) / 100.0);
    }
    let one_of = text
        .strip_prefix("fewer than 1 of ")
        .and_then(|rest| rest.strip_suffix(" cases"));
    let Some(one_of) = one_of.and_then(count) else {
        return false;
    };
    // Nothing is ever said to be less likely than that.
    let least = if one_of >= 1e9 { 0.0 } else { 0.1 / one_of };
    between(least, 1.0 / one_of)
}
