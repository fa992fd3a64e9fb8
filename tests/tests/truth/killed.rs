//! kill -9, then report: the same as just before, but for `alive` and times.
//!
//! Guard: everything a report needs lies in the segment, which outlives the
//! process.

use memguard_tests::{Mode, Program, Report};
use serde_json::Value;

/// What may differ: whether it lives, and everything that counts seconds.
fn is_time(key: &str) -> bool {
    let named = ["alive", "taken_at", "rate_per_hour"];
    named.contains(&key) || key.ends_with("_s")
}

/// The report without what may differ.
fn lasting(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !is_time(key));
            kept.map(|(key, value)| (key.clone(), lasting(value)))
                .collect()
        }
        Value::Array(list) => list.iter().map(lasting).collect(),
        other => other.clone(),
    }
}

#[test]
fn the_report_outlives_the_process() {
    for mode in [Mode::Light, Mode::Dense, Mode::Deep] {
        let mut held = Program::fixture("known").arg("11").mode(mode).hold();
        let (pid, folder) = (held.pid(), held.folder().to_owned());
        let before = held.report();
        held.kill();
        let after = Report::of(pid, &folder);
        assert!(before.alive() && !after.alive());
        let (before, after) = (lasting(&before.value), lasting(&after.value));
        assert_eq!(text(&after), text(&before), "{mode:?}");
    }
}

/// Lines, so that a difference can be seen.
fn text(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON can be written")
}
