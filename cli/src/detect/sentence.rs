//! The one sentence that a person believes.

use super::Found;
use super::model::Why;
use crate::model::{Kind, Verdict};
use crate::snapshot::Site;
use crate::units::{bytes, count, life, span, spans};

/// What the sentences are made of.
#[derive(Debug)]
pub struct Words<'a> {
    /// The finding
    pub found: &'a Found,
    /// Its site
    pub site: &'a Site,
    /// Where that is, for a person
    pub place: &'a str,
    /// Ages in seconds of what it is about, youngest and oldest
    pub ages: (f64, f64),
    /// For how long nobody used any of them, in seconds
    pub unused_s: Option<f64>,
    /// Seconds until the next look that counts, where somebody keeps count
    pub next_look_s: Option<f64>,
    /// Counted, not estimated from samples
    pub exact: bool,
}

/// One sentence.
#[must_use]
pub fn summary(words: &Words<'_>) -> String {
    if is_stale(words) {
        return stale(words);
    }
    let (verdict, why) = (words.found.verdict(), words.found.decision.why);
    if why == Why::HungUp {
        return hung_up(words);
    }
    let parts = match (verdict, why) {
        (Verdict::Early, _) => vec![held(words), outlook(words)],
        (Verdict::Held, Why::LastLook) => vec![held(words), outlook(words)],
        (Verdict::Held, _) => vec![held(words), harmless(why).to_owned()],
        (Verdict::Leak, Why::Proven) => vec![given_back(words), proof(words)],
        (Verdict::Leak, Why::Agree | Why::LastLook | Why::Stopped) => {
            vec![given_back(words), lost(words)]
        }
        _ => vec![given_back(words), held_on(words)],
    };
    let grows = (verdict < Verdict::Early).then(|| growth(words)).flatten();
    let all = parts.into_iter().chain(grows).chain(ends(words));
    let all: Vec<String> = all.chain(doubt(words).map(str::to_owned)).collect();
    format!("{}.", all.join("; "))
}

/// Registrations whose descriptors are no longer those that were registered.
pub(super) fn is_stale(words: &Words<'_>) -> bool {
    words.found.decision.why == Why::Proven && !words.found.things.is_empty()
}

fn stale(words: &Words<'_>) -> String {
    let (n, place) = (count(words.found.count), words.place);
    let (noun, verb, what) = match words.found.count {
        1 => (
            "registration",
            "is",
            "its descriptor is closed or names another file",
        ),
        _ => (
            "registrations",
            "are",
            "their descriptors are closed or name other files",
        ),
    };
    format!(
        "{n} epoll {noun} from {place} {verb} stale: {what}, while what was registered is still open elsewhere, so \
         that epoll_wait goes on telling of it."
    )
}

/// What a fix has ended and its owner has not closed.
fn hung_up(words: &Words<'_>) -> String {
    let (n, place) = (words.found.count, words.place);
    let (verb, number) = match n {
        1 => ("was", "its number is"),
        _ => ("were", "their numbers are"),
    };
    let what = nouns(words, n);
    format!("{what} from {place} {verb} ended by memguard; {number} still held.")
}

/// `descriptors run out in 9 h`
fn ends(words: &Words<'_>) -> Option<String> {
    let what = if words.found.is_heap() {
        "memory runs out"
    } else {
        "descriptors run out"
    };
    let left_s = words.found.outlook.exhaustion_s?;
    Some(format!("{what} in {}", span(left_s)))
}

/// Why something that is held is no leak.
fn harmless(why: Why) -> &'static str {
    match why {
        Why::Plateau => "an earlier run held as many and stopped there",
        Why::Unclear => "more came, but no more than chance explains",
        Why::Labelled => "labelled as meant to be held",
        _ => "no sign that more keep coming",
    }
}

/// What keeps the verdict from being worse, or who says so.
fn doubt(words: &Words<'_>) -> Option<&'static str> {
    let (verdict, why) = (words.found.verdict(), words.found.decision.why);
    match (verdict, why) {
        (Verdict::Growing, _) => Some("may be a cache"),
        (Verdict::Suspect, Why::NoActivity) => Some("nothing tells whether they are used"),
        (Verdict::Suspect, Why::Busy) => Some("but they are in use"),
        (Verdict::Suspect, Why::FewMoments) => {
            Some("they came at a few moments, which may have been all")
        }
        (Verdict::Suspect, Why::FewLives) => Some("closing has not clearly stopped yet"),
        (Verdict::Leak, Why::Labelled) => Some("labelled a leak"),
        (Verdict::Leak, Why::Stopped) => Some("no more come at present"),
        _ => None,
    }
}

/// `60 are 20 min to 5 h old, none closed since, unused for 20 min`
fn lost(words: &Words<'_>) -> String {
    let (n, ages) = (words.found.count, spans(words.ages.0, words.ages.1));
    let (verb, freed) = (if n == 1 { "is" } else { "are" }, freed(words));
    let unused = words.unused_s.filter(|idle| *idle >= 1.0);
    let unused = unused.map(|idle| format!(", unused for {} and more", span(idle)));
    format!(
        "{} {verb} {ages} old, none {freed} since{}{}",
        count(n),
        expected(words),
        unused.unwrap_or_default()
    )
}

/// ` (212 expected)`, where that says something.
fn expected(words: &Words<'_>) -> String {
    let closing = words.found.measured.closing;
    let expected = closing.map_or(0.0, |closing| closing.expected);
    if expected < 2.0 {
        return String::new();
    }
    format!(" ({} expected)", count(expected as u64))
}

fn nouns(words: &Words<'_>, n: u64) -> String {
    format!("{} {}", count(n), words.found.kind.noun(n))
}

pub(super) fn freed(words: &Words<'_>) -> &'static str {
    match words.found.kind {
        Kind::Memory | Kind::Caches | Kind::Mappings => "freed",
        Kind::Threads => "joined",
        Kind::Children => "waited for",
        Kind::Timers if !words.found.things.is_empty() => "deleted",
        Kind::Listeners if !words.found.things.is_empty() => "removed",
        _ => "closed",
    }
}

/// `9 940 of 10 000 sockets from pool.c:88 were closed within 2.1 s`
fn given_back(words: &Words<'_>) -> String {
    let (stats, freed) = (&words.site.stats, freed(words));
    let sampled = if !words.exact { "sampled " } else { "" };
    // What the kernel removed by itself was neither kept nor given back.
    let made = stats.births.saturating_sub(words.site.live.removed);
    let noun = words.found.kind.noun(made);
    let (births, deaths, place) = (count(made), count(stats.deaths), words.place);
    let longest = life(stats.longest_ms as f64 / 1000.0);
    match (made, stats.deaths) {
        (1, 0) => format!("The one {sampled}{noun} from {place} was never {freed}"),
        (_, 0) => format!("None of the {births} {sampled}{noun} from {place} was ever {freed}"),
        (_, 1) => {
            format!("1 of {births} {sampled}{noun} from {place} was {freed}, it lived {longest}")
        }
        _ => {
            let within = if longest.starts_with("under") {
                "in"
            } else {
                "within"
            };
            format!(
                "{deaths} of {births} {sampled}{noun} from {place} were {freed} {within} {longest}"
            )
        }
    }
}

fn held_on(words: &Words<'_>) -> String {
    let (n, ages) = (words.found.count, spans(words.ages.0, words.ages.1));
    match words.found.bytes {
        Some(held) => format!(
            "{}{} ({}) are held, {ages} old",
            if words.exact { "" } else { "about " },
            nouns(words, n),
            bytes(held)
        ),
        None if n == 1 => format!("1 is held, {ages} old"),
        None => format!("{} are held, {ages} old", count(n)),
    }
}

/// `60 have been in CLOSE_WAIT, nothing sent, for 12 min and more`
fn proof(words: &Words<'_>) -> String {
    let (n, least) = (
        count(words.found.count),
        span(words.found.measured.old_ms as f64 / 1000.0),
    );
    let ages = spans(words.ages.0, words.ages.1);
    format!(
        "{n} others are {ages} old: their peers have gone, nothing was sent for {least} and more, nobody waits on them"
    )
}

fn held(words: &Words<'_>) -> String {
    let (n, oldest, place) = (words.found.count, span(words.ages.1), words.place);
    let verb = if n == 1 { "is" } else { "are" };
    match words.found.bytes {
        Some(held) => format!(
            "{}{} ({}) from {place} {verb} held, for up to {oldest}",
            if words.exact { "" } else { "About " },
            nouns(words, n),
            bytes(held)
        ),
        None => format!(
            "{} from {place} {verb} held, for up to {oldest}",
            nouns(words, n)
        ),
    }
}

/// The same before and after the end of the process, as the rest of a report.
fn outlook(words: &Words<'_>) -> String {
    let found = words.found;
    match found.decision.why {
        Why::NextLook | Why::LastLook => match words.next_look_s {
            Some(left) => format!("judged again in {}", span(left)),
            None => "judged again when it was seen for half as long again".to_owned(),
        },
        Why::AfterFalseAlarm => {
            "an earlier alarm was false, so more looks must agree first".to_owned()
        }
        _ => format!(
            "too early to judge, that takes {}",
            span(found.measured.long_enough_ms() as f64 / 1000.0)
        ),
    }
}

/// `12 more an hour`
fn growth(words: &Words<'_>) -> Option<String> {
    let per_hour = words.found.outlook.per_hour?;
    let (rate, every) = match per_hour {
        fast if fast >= 120.0 => (fast / 60.0, "a minute"),
        slow if slow < 1.0 => (slow * 24.0, "a day"),
        usual => (usual, "an hour"),
    };
    let more = count((rate.round() as u64).max(1));
    let size = words
        .found
        .bytes
        .map(|held| held as f64 / words.found.count.max(1) as f64);
    let size = size
        .map(|each| format!(" ({})", bytes((each * rate) as u64)))
        .unwrap_or_default();
    Some(format!("{more} more{size} {every}"))
}
