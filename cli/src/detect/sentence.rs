//! The one sentence and the few facts that a person believes.

use super::Found;
use crate::model::{Kind, Lifetimes, Verdict};
use crate::snapshot::{Site, Snapshot};
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
    /// Ages in seconds of what is held, youngest and oldest
    pub ages: (f64, f64),
    /// Seconds until a limit is hit
    pub exhaustion_s: Option<f64>,
    /// How many more an hour
    pub per_hour: Option<f64>,
    /// Counted, not estimated from samples
    pub exact: bool,
}

/// One sentence.
#[must_use]
pub fn summary(words: &Words<'_>) -> String {
    if is_stale(words) {
        return stale(words);
    }
    let parts = match words.found.verdict {
        Verdict::Early => vec![held(words), outlook(words)],
        Verdict::Held => vec![held(words), "no sign that more keep coming".to_owned()],
        Verdict::Leak => vec![given_back(words), proof(words)],
        _ => vec![given_back(words), held_on(words)],
    };
    let grows = (words.found.verdict < Verdict::Early)
        .then(|| growth(words))
        .flatten();
    let ends = words
        .exhaustion_s
        .map(|left| format!("descriptors run out in {}", span(left)));
    let all: Vec<String> = parts.into_iter().chain(grows).chain(ends).collect();
    format!("{}.", all.join("; "))
}

/// Registrations whose descriptors are no longer those that were registered.
fn is_stale(words: &Words<'_>) -> bool {
    words.found.verdict == Verdict::Leak && !words.found.things.is_empty()
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

fn nouns(words: &Words<'_>, n: u64) -> String {
    format!("{} {}", count(n), words.found.kind.noun(n))
}

fn freed(words: &Words<'_>) -> &'static str {
    match words.found.kind {
        Kind::Memory | Kind::Mappings => "freed",
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
    let noun = words.found.kind.noun(stats.births);
    let (births, deaths, place) = (count(stats.births), count(stats.deaths), words.place);
    let longest = life(stats.longest_ms as f64 / 1000.0);
    match (stats.births, stats.deaths) {
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
        span(words.found.assessment.old_ms as f64 / 1000.0),
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
    format!(
        "too early to judge, that takes {}",
        span(words.found.assessment.long_enough_s())
    )
}

/// `12 more an hour`
fn growth(words: &Words<'_>) -> Option<String> {
    let per_hour = words.per_hour.filter(|rate| *rate > 0.0)?;
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

/// One fact each.
#[must_use]
pub fn evidence(words: &Words<'_>, snapshot: &Snapshot, lives: Option<&Lifetimes>) -> Vec<String> {
    let found = words.found;
    let mut facts = Vec::new();
    facts.extend(lives.map(lived));
    if is_stale(words) {
        facts.push("The kernel lists them in two looks, 100 ms apart.".to_owned());
        return facts;
    }
    let old = &found.assessment;
    let age = span(old.old_ms as f64 / 1000.0);
    facts.push(match (found.verdict, lives) {
        (Verdict::Leak, _) => format!(
            "All {} are older than {age} and in CLOSE_WAIT with an empty send queue.",
            count(found.count)
        ),
        (_, Some(_)) if old.old_ms == words.site.stats.longest_ms.saturating_mul(3) / 2 => {
            format!(
                "{} of {} held are older than {age}, half as long again as the longest life.",
                count(old.old as u64),
                count(old.held as u64)
            )
        }
        _ => format!(
            "{} of {} held are older than {age}.",
            count(old.old as u64),
            count(old.held as u64)
        ),
    });
    if found.verdict == Verdict::Suspect {
        facts.push(format!(
            "New ones kept staying: chance alone would show that in {}.",
            cases(old.chance)
        ));
    }
    facts.extend(states(snapshot, &found.descriptors));
    facts
}

/// `2.4 % of cases`; nothing is ever so sure that it would be none.
fn cases(chance: f64) -> String {
    if chance < 0.001 {
        "fewer than 1 of 1\u{a0}000 cases".to_owned()
    } else {
        format!("{:.1} % of cases", chance * 100.0)
    }
}

fn lived(lives: &Lifetimes) -> String {
    format!(
        "Of {} given back, half lived {}, 90 % {}, 99 % {}, the longest {}.",
        count(lives.completed),
        life(lives.p50_s),
        life(lives.p90_s),
        life(lives.p99_s),
        life(lives.longest_s)
    )
}

/// `58 are in CLOSE_WAIT, 2 in ESTABLISHED.`
fn states(snapshot: &Snapshot, open: &[usize]) -> Option<String> {
    let mut states: Vec<(&str, u64)> = Vec::new();
    for descriptor in open.iter().filter_map(|at| snapshot.descriptors.get(*at)) {
        let fact = descriptor
            .fact
            .as_ref()
            .and_then(|fact| fact.socket.as_ref());
        let Some(state) = fact.and_then(|socket| socket.state.as_deref()) else {
            continue;
        };
        match states.iter_mut().find(|(name, _)| *name == state) {
            Some((_, n)) => *n += 1,
            None => states.push((state, 1)),
        }
    }
    states.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let list: Vec<String> = states
        .iter()
        .map(|(name, n)| format!("{} in {name}", count(*n)))
        .collect();
    (!list.is_empty()).then(|| format!("Socket states: {}.", list.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unlikely_is_never_called_impossible() {
        assert_eq!(
            cases(0.0004).replace('\u{a0}', " "),
            "fewer than 1 of 1 000 cases"
        );
        assert_eq!(cases(0.024), "2.4 % of cases");
    }

    #[test]
    fn what_the_clock_cannot_tell_is_not_told() {
        let lives = Lifetimes {
            completed: 7,
            p50_s: 0.001,
            p90_s: 0.003,
            p99_s: 0.004,
            longest_s: 0.009,
        };
        assert_eq!(
            lived(&lives),
            "Of 7 given back, half lived under 4 ms, 90 % under 4 ms, 99 % 4 ms, the longest 9 ms."
        );
    }
}
