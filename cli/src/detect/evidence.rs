//! What speaks for a verdict, one fact a line; every chance in words.

use super::model::{Measured, Why};
use super::sentence::{Words, freed, is_stale};
use crate::model::{Lifetimes, Verdict};
use crate::snapshot::Snapshot;
use crate::units::{count, life, span};

/// A site that stands still for as long is judged as it was when it last moved,
/// and its evidence says so.
const STILL_TOLD_MS: u64 = 1000;

const HUNG_UP: &str = "`memguard fix` ended these connections in both directions, and the kernel shows none by now; \
                       the numbers stay taken until the program closes them or ends.";

/// One fact each.
#[must_use]
pub fn evidence(words: &Words<'_>, snapshot: &Snapshot, lives: Option<&Lifetimes>) -> Vec<String> {
    let found = words.found;
    let mut facts: Vec<String> = lives.map(lived).into_iter().collect();
    if is_stale(words) {
        facts.push("The kernel lists them in two looks, 100 ms apart.".to_owned());
        return facts;
    }
    if found.decision.why == Why::HungUp {
        facts.push(HUNG_UP.to_owned());
        facts.extend(states(snapshot, &found.descriptors));
        return facts;
    }
    facts.extend(removed(words));
    facts.push(old(words, lives.is_some()));
    if found.verdict() < Verdict::Early && found.decision.why != Why::Proven {
        facts.extend(closing(words));
        facts.extend(if found.decision.why == Why::Stopped {
            Some("An earlier look showed that more kept coming, beyond chance.".to_owned())
        } else {
            coming(&found.measured)
        });
        facts.extend(using(&found.measured));
    }
    facts.extend(stays(words));
    facts.extend(states(snapshot, &found.descriptors));
    facts
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

/// Watches end with what they watch, without a call of the program.
fn removed(words: &Words<'_>) -> Option<String> {
    let n = words.site.live.removed;
    let (them, they) = if n == 1 {
        ("one", "it")
    } else {
        ("ones", "they")
    };
    (n > 0).then(|| {
        format!(
            "The kernel removed {} {them} with what {they} watched.",
            count(n)
        )
    })
}

/// How many are older than the age that counts as old, and what that is.
fn old(words: &Words<'_>, has_lives: bool) -> String {
    let found = words.found;
    let measured = &found.measured;
    let age = span(measured.old_ms as f64 / 1000.0);
    if found.decision.why == Why::Proven {
        return format!(
            "All {} are older than {age} and in CLOSE_WAIT with an empty send queue.",
            count(found.count)
        );
    }
    let longest = (words.site.stats.longest_ms as f64 * 1.5).ceil() as u64;
    let why = if has_lives && measured.old_ms == longest {
        ", half as long again as the longest life"
    } else {
        ""
    };
    let (old, held) = (count(measured.old()), count(measured.held));
    if measured.still_ms < STILL_TOLD_MS {
        return format!("{old} of {held} held are older than {age}{why}.");
    }
    let since = span(measured.still_ms as f64 / 1000.0);
    format!(
        "{old} of {held} held were older than {age}{why}, when the site was last seen at work, {since} ago."
    )
}

/// Q1 in words.
fn closing(words: &Words<'_>) -> Option<String> {
    let closing = words
        .found
        .measured
        .closing
        .filter(|closing| closing.expected > 0.0)?;
    let (waited, freed) = (span(closing.waited_ms / 1000.0), freed(words));
    Some(format!(
        "None of those was {freed} beyond that age, in {waited} of waiting all together: by chance that happens in {}.",
        cases(closing.chance())
    ))
}

/// Q2 in words.
fn coming(measured: &Measured) -> Option<String> {
    let lately = measured.coming.lately;
    let half = span(measured.coming.half_ms as f64 / 1000.0);
    (lately > 0).then(|| {
        format!(
            "{} of the old ones came in the later {half}: had they all but stopped coming, chance would show that in {}.",
            count(lately),
            cases(measured.coming.chance())
        )
    })
}

/// Q3 in words.
fn using(measured: &Measured) -> Option<String> {
    let (using, old) = (measured.using, measured.old());
    if old == 0 {
        return None;
    }
    let told = [
        (using.idle, "unused since about their birth"),
        (using.busy, "perhaps used later"),
        (using.unknown, "not known to be used or not"),
    ];
    let told = told.iter().filter(|(n, _)| *n > 0);
    let told: Vec<String> = told
        .map(|(n, what)| format!("{} {what}", count(*n)))
        .collect();
    let chance = (using.idle > 0 && using.unknown == 0).then(|| {
        format!(
            ": of healthy ones chance would show that in {}",
            cases(using.chance())
        )
    });
    Some(format!(
        "Of {} old ones {}{}.",
        count(old),
        told.join(", "),
        chance.unwrap_or_default()
    ))
}

/// `0.6 % of what it makes stays (0.5 to 0.8 %).`
fn stays(words: &Words<'_>) -> Option<String> {
    let stays = words.found.outlook.stays?;
    let percent = |share: f64| {
        let share = share * 100.0;
        if share < 1.0 {
            format!("{share:.2}")
        } else {
            format!("{share:.0}")
        }
    };
    Some(format!(
        "{} % of what it makes stays ({} to {} %).",
        percent(stays.share),
        percent(stays.low),
        percent(stays.high)
    ))
}

/// `1 of 10 000 cases`; nothing is ever so sure that it would be none.
fn cases(chance: f64) -> String {
    const LAST: f64 = 1e-9;
    if chance >= 0.001 {
        return format!("{:.1} % of cases", chance * 100.0);
    }
    let digits = (-chance.max(LAST).log10()).floor() as u32;
    format!("fewer than 1 of {} cases", count(10_u64.pow(digits)))
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
        let read = |chance| cases(chance).replace('\u{a0}', " ");
        assert_eq!(read(0.024), "2.4 % of cases");
        assert_eq!(read(0.0004), "fewer than 1 of 1 000 cases");
        assert_eq!(read(0.0), "fewer than 1 of 1 000 000 000 cases");
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
