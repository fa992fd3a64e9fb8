//! Spans of time as people type them: `30s`, `5m`, `1h30m`, `2 days`.

use std::time::Duration;

/// Reads a span; a bare number is seconds.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let wrong = || format!("`{text}` is not a span of time; write it like 30s, 5m or 1h30m");
    let (seconds, rest) = days_as_seconds(text);
    if rest.is_empty() && seconds > 0 {
        return Ok(Duration::from_secs(seconds));
    }
    let span: jiff::SignedDuration = rest.parse().map_err(|_| wrong())?;
    let span = Duration::try_from(span).map_err(|_| wrong())?;
    Ok(span.saturating_add(Duration::from_secs(seconds)))
}

/// Takes a leading `2d` off: a day here is 24 hours, no calendar is meant.
fn days_as_seconds(text: &str) -> (u64, &str) {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = text.split_at(digits);
    let unit = rest.trim_start();
    let Ok(days) = number.parse::<u64>() else {
        return (0, text);
    };
    ["days", "day", "d"]
        .iter()
        .find_map(|name| unit.strip_prefix(name))
        .map_or((0, text), |tail| {
            (days.saturating_mul(86_400), tail.trim_start())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_type() {
        for (text, seconds) in [
            ("30s", 30),
            ("5m", 300),
            ("1h30m", 5400),
            ("45", 45),
            ("2d", 172_800),
            ("1d 2h", 93_600),
        ] {
            assert_eq!(parse_span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_span("500ms"), Ok(Duration::from_millis(500)));
        let longest = Duration::from_secs(u64::MAX);
        assert!(parse_span("9999999999999999d 1h").unwrap() >= longest);
    }

    #[test]
    fn says_how_to_write_it() {
        for text in ["", "soon", "-5s", "5 parsecs"] {
            assert!(
                parse_span(text).unwrap_err().contains("write it like 30s"),
                "{text}"
            );
        }
    }
}
