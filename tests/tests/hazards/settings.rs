//! The variables: what they do, and what a value that makes no sense does.
//!
//! Guards: MEMGUARD_DISABLE=1 makes every hook a pass-through and no segment;
//! a bad value gives one line on standard error and the default.

use memguard_tests::{Mode, Program, Scratch};
use shm_protocol::codes::note;

#[test]
fn disabled_hooks_pass_through() {
    for fixture in ["plain", "early", "heap_edges", "news", "fork_in_handler"] {
        let program = Program::fixture(fixture);
        let bare = program.bare().ok();
        let scratch = Scratch::new();
        let disabled = program.env("MEMGUARD_DISABLE", "1");
        disabled.watched_in(&scratch).assert_same(&bare, fixture);
        let held = disabled.hold_in(scratch);
        assert!(held.scratch().segment_files().is_empty(), "{fixture}");
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", held.pid()));
        let maps = maps.expect("a live process has maps");
        assert!(
            maps.contains("libmemguard.so"),
            "the library is there, but idle"
        );
        held.finish_ok();
    }
}

#[test]
fn bad_values_give_one_line_and_the_default() {
    let bad = [
        ("MEMGUARD_MONITORING_MODE", "heavy"),
        ("MEMGUARD_SAMPLE_BYTES", "lots"),
        ("MEMGUARD_SAMPLE_BYTES", "0"),
        ("MEMGUARD_SAMPLE_BYTES", "99999999999999999999"),
        ("MEMGUARD_SAMPLE_BYTES", "-5"),
        ("MEMGUARD_LIGHT_SAMPLE_RATE", "1.5"),
        ("MEMGUARD_LIGHT_SAMPLE_RATE", "nan"),
        ("MEMGUARD_DEEP_SAMPLE_RATE", "0"),
        ("MEMGUARD_DEEP_SAMPLE_RATE", ""),
        ("MEMGUARD_KEEP", "sometimes"),
        ("MEMGUARD_KEEP", "\x1b[31mred\u{9b}5m"),
        ("MEMGUARD_DISABLE", "maybe"),
    ];
    for (name, value) in bad {
        let program = Program::fixture("plain").env(name, value);
        let bare = program.bare().ok();
        let watched = program.watched().ok();
        assert_eq!(watched.stdout, bare.stdout, "{name}={value}");
        let lines: Vec<&str> = watched.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{name}={value}: {lines:#?}");
        assert!(
            lines[0].contains(name) && lines[0].contains("memguard"),
            "{lines:?}"
        );
        let steers = |c: char| c.is_control();
        assert!(!lines[0].contains(steers), "{lines:?}");
        let held = program.hold();
        assert_eq!(held.report().mode(), "light", "{name}={value}");
        assert!(held.record().notes(note::BAD_VARIABLE), "{name}={value}");
        held.finish_ok();
    }
}

#[test]
fn good_values_give_no_line() {
    let good = [
        ("MEMGUARD_MONITORING_MODE", "hybrid", "light"),
        ("MEMGUARD_MONITORING_MODE", "light", "light"),
        ("MEMGUARD_MONITORING_MODE", "deep", "deep"),
        ("MEMGUARD_MONITORING_MODE", "off", "off"),
        ("MEMGUARD_SAMPLE_BYTES", "4096", "light"),
        ("MEMGUARD_LIGHT_SAMPLE_RATE", "0.01", "light"),
        ("MEMGUARD_LIGHT_SAMPLE_RATE", "1", "light"),
        ("MEMGUARD_KEEP", "on-findings", "light"),
        ("MEMGUARD_DISABLE", "0", "light"),
    ];
    for (name, value, mode) in good {
        let held = Program::fixture("plain").env(name, value).hold();
        assert_eq!(held.report().mode(), mode, "{name}={value}");
        let outcome = held.finish().ok();
        assert_eq!(outcome.stderr, "", "{name}={value}");
    }
}

#[test]
fn off_records_nothing_new() {
    let held = Program::fixture("plain").mode(Mode::Off).hold();
    assert_eq!(held.record().fd_rows(), []);
    assert_eq!(held.record().blocks(), []);
    held.finish_ok();
}
