//! Numbers as people read them.

/// `12 345`, with thin groups of three.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('\u{a0}');
        }
        grouped.push(digit);
    }
    grouped
}

/// Two digits of an estimate: `46 392` gives `46 000`.
#[must_use]
pub fn roughly(n: u64) -> u64 {
    let step = 10_u64.pow(n.checked_ilog10().unwrap_or(0).saturating_sub(1));
    (n / step + u64::from(n % step >= step.div_ceil(2))).saturating_mul(step)
}

/// Bytes of an estimate: `46 MiB`
#[must_use]
pub fn rough_bytes(n: u64) -> String {
    let unit = 1024_u64.pow(n.max(1).ilog2() / 10);
    if n / unit < 10 {
        bytes(n)
    } else {
        let whole = roughly((n + unit / 2) / unit);
        bytes(whole.saturating_mul(unit)).replace(".0 ", " ")
    }
}

/// `3.4 MiB`
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 {
        format!("{n} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `450 ms`, `2.1 s`, `12 min`, `5 h 10 min`, `3 d 4 h`
#[must_use]
pub fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        _ if seconds < 0.9995 => format!("{:.0} ms", seconds.max(0.0) * 1000.0),
        _ if seconds < 9.95 => format!("{seconds:.1} s").replace(".0 s", " s"),
        0..120 => format!("{whole} s"),
        120..7200 => format!("{} min", (whole + 30) / 60),
        7200..172_800 => two(whole, 3600, "h", 60, "min"),
        _ => two(whole, 86_400, "d", 3600, "h"),
    }
}

/// A lifetime: both its ends are stamped by a clock that steps 4 ms.
#[must_use]
pub fn life(seconds: f64) -> String {
    if seconds < 0.004 {
        "under 4 ms".to_owned()
    } else {
        span(seconds)
    }
}

/// Two spans, as precise as it takes to tell them apart: `4 min 58 s` and `5 min`.
#[must_use]
pub fn told_apart(a_s: f64, b_s: f64) -> (String, String) {
    let ways: [fn(f64) -> String; 4] = [span, to_the_second, to_the_tenth, |s| format!("{s:.3} s")];
    let mut pairs = ways.iter().map(|way| (way(a_s), way(b_s)));
    let told = pairs.find(|(a, b)| a != b);
    told.unwrap_or_else(|| (span(a_s), span(b_s)))
}

fn to_the_second(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..7200 => two(whole, 60, "min", 1, "s"),
        _ => two(whole / 60, 60, "h", 1, "min") + &format!(" {} s", whole % 60),
    }
}

fn to_the_tenth(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64 / 60;
    let rest = seconds.max(0.0) - whole as f64 * 60.0;
    match whole {
        0 => format!("{rest:.1} s"),
        _ => format!("{whole} min {rest:.1} s"),
    }
}

fn two(whole: u64, big: u64, big_name: &str, small: u64, small_name: &str) -> String {
    match (whole / big, whole % big / small) {
        (bigs, 0) => format!("{bigs} {big_name}"),
        (bigs, smalls) => format!("{bigs} {big_name} {smalls} {small_name}"),
    }
}

/// `20 s to 5 h`, or one of them when they read the same.
#[must_use]
pub fn spans(from_s: f64, to_s: f64) -> String {
    let (from, to) = (span(from_s), span(to_s));
    if from == to {
        from
    } else {
        format!("{from} to {to}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(7).replace('\u{a0}', " "), "7");
        assert_eq!(count(1_234_567).replace('\u{a0}', " "), "1 234 567");
        assert_eq!(
            [0, 1023, 1024, 1_048_575, 5_368_709_120].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "5.0 GiB"]
        );
    }

    #[test]
    fn estimates_have_two_digits() {
        assert_eq!(
            [0, 7, 46, 463, 6_063, 99_600].map(roughly),
            [0, 7, 46, 460, 6_100, 100_000]
        );
        let read = [0, 7, 1_500, 48_653_926, 524_288_000].map(rough_bytes);
        assert_eq!(read, ["0 B", "7 B", "1.5 KiB", "46 MiB", "500 MiB"]);
    }

    #[test]
    fn spans_that_differ_read_differently() {
        let pair = |a, b| told_apart(a, b);
        assert_eq!(pair(100.0, 300.0), ("100 s".into(), "5 min".into()));
        assert_eq!(pair(298.4, 300.0), ("4 min 58 s".into(), "5 min".into()));
        assert_eq!(pair(300.0, 300.2).0, "5 min 0.0 s");
        assert_eq!(pair(299.97, 300.0).0, "4 min 59 s");
        assert_eq!(pair(86_342.0, 86_345.0).0, "23 h 59 min 2 s");
        assert_eq!(pair(5.0, 5.0), ("5 s".into(), "5 s".into()));
    }

    #[test]
    fn spans_read_well() {
        let read = [
            0.0, 0.45, 1.0, 2.14, 59.6, 119.0, 600.0, 7200.0, 18_600.0, 200_000.0,
        ]
        .map(span);
        assert_eq!(
            read,
            [
                "0 ms",
                "450 ms",
                "1 s",
                "2.1 s",
                "60 s",
                "119 s",
                "10 min",
                "2 h",
                "5 h 10 min",
                "2 d 7 h"
            ]
        );
        assert_eq!(
            [0.0, 0.003, 0.004].map(life),
            ["under 4 ms", "under 4 ms", "4 ms"]
        );
        assert_eq!(spans(3.0, 3.0), "3 s");
        assert_eq!(spans(3.0, 300.0), "3 s to 5 min");
    }
}
