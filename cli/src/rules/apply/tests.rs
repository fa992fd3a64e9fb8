//! Each key by its effect.

use super::*;
use crate::model::{Frame, Kind};
use crate::render::samples;
use crate::rules::{lsan, toml};

fn frame(function: &str, file: &str, module: &str) -> Frame {
    Frame {
        function: Some(function.into()),
        file: Some(file.into()),
        line: Some(7),
        module: Some(module.into()),
        offset: Some(16),
    }
}

fn finding(id: &str, kind: Kind, verdict: Verdict, resources: Vec<Resource>) -> Finding {
    Finding {
        id: id.into(),
        kind,
        verdict,
        count: resources.len() as u64,
        resources,
        bytes: None,
        labelled: false,
        ended_by_fix: false,
        labels: vec![],
        evidence: vec![],
        rate_per_hour: Some(100.0),
        exhaustion_s: Some(1000.0),
        stack: vec![
            frame("ask_price(int)", "/src/shop/shop.cpp", "/opt/shop/bin/shop"),
            frame("serve", "/src/lib/serve.c", "/opt/shop/lib/libserve.so.2"),
        ],
        ..samples::report().findings[0].clone()
    }
}

fn socket(peer: &str, age_s: f64, idle_s: Option<f64>) -> Resource {
    Resource {
        age_s: Some(age_s),
        idle_s,
        peer: Some(peer.into()),
        local: Some("10.0.0.5:41000".into()),
        ..Resource::default()
    }
}

fn file(path: &str) -> Resource {
    Resource {
        path: Some(path.into()),
        age_s: Some(50.0),
        ..Resource::default()
    }
}

/// Four sockets (two peers), three files, a heap place of 500 blocks.
fn report() -> Report {
    let sockets = vec![
        socket("10.1.0.9:5432", 10.0, Some(5.0)),
        socket("10.1.0.9:5432", 100.0, Some(90.0)),
        socket("[fd00::7]:443", 1000.0, None),
        socket("[fd00::7]:443", 2000.0, Some(1900.0)),
    ];
    let files = vec![
        file("/var/log/a.log"),
        file("/var/log/b.log (deleted)"),
        file("/tmp/c"),
    ];
    let mut heap = finding("memory-1", Kind::Memory, Verdict::Growing, vec![]);
    (heap.count, heap.bytes) = (500, Some(64_000));
    heap.stack = vec![
        frame("grow_cache", "/src/shop/cache.c", "/opt/shop/bin/shop"),
        Frame::default(),
    ];
    let mut report = samples::report();
    report.suppressed.clear();
    report.findings = vec![
        finding("sockets-1", Kind::Sockets, Verdict::Leak, sockets),
        heap,
        finding("files-1", Kind::Files, Verdict::Suspect, files),
    ];
    report
}

fn after(rules: &str) -> Report {
    let rules = Rules {
        rules: toml::parse("memguard.toml", rules).expect(rules),
        suppressions: vec![],
        ..Rules::default()
    };
    let mut report = report();
    rules.apply(&mut report);
    report
}

/// The ids and counts that are left after one rule.
fn left(keys: &str) -> Vec<(String, u64)> {
    let report = after(&format!("[[rule]]\n{keys}\n"));
    report
        .findings
        .into_iter()
        .map(|one| (one.id, one.count))
        .collect()
}

#[track_caller]
fn assert_left(keys: &str, wanted: &[(&str, u64)]) {
    let wanted: Vec<(String, u64)> = wanted
        .iter()
        .map(|(id, n)| ((*id).to_owned(), *n))
        .collect();
    assert_eq!(left(keys), wanted, "{keys}");
}

const SOCKETS: (&str, u64) = ("sockets-1", 4);
const HEAP: (&str, u64) = ("memory-1", 500);
const FILES: (&str, u64) = ("files-1", 3);
const ALL: [(&str, u64); 3] = [SOCKETS, HEAP, FILES];

#[test]
fn by_kind_and_id_and_process() {
    assert_left("kind = 'files'\nignore = true", &[SOCKETS, HEAP]);
    assert_left("kind = ['files', 'memory']\nignore = true", &[SOCKETS]);
    assert_left("kind = 'pipes'\nignore = true", &ALL);
    assert_left("id = 'memory-1'\nignore = true", &[SOCKETS, FILES]);
    assert_left("process = 'app'\nignore = true", &[]);
    assert_left("process = '/opt/*/bin/app'\nignore = true", &[]);
    assert_left("process = 'ap'\nignore = true", &ALL);
}

#[test]
fn by_any_frame_whose_function_module_and_file_fit_together() {
    assert_left("function = 'ask_price'\nignore = true", &[HEAP]);
    assert_left("function = 'serve'\nignore = true", &[HEAP]);
    assert_left("function = '*cache'\nignore = true", &[SOCKETS, FILES]);
    assert_left("module = 'libserve.so*'\nignore = true", &[HEAP]);
    assert_left("module = '/opt/shop/bin/*'\nignore = true", &[]);
    assert_left("file = 'cache.c'\nignore = true", &[SOCKETS, FILES]);
    assert_left("function = 'serve'\nmodule = 'shop'\nignore = true", &ALL);
    assert_left(
        "function = 'serve'\nfile = 'serve.c'\nignore = true",
        &[HEAP],
    );
}

#[test]
fn by_the_innermost_calls() {
    assert_left("stack = ['ask_price', 'serve']\nignore = true", &[HEAP]);
    assert_left("stack = 'serve'\nignore = true", &ALL);
    assert_left(
        "stack = ['grow_cache', '[?]+0x0']\nignore = true",
        &[SOCKETS, FILES],
    );
    assert_left("stack = ['ask_price', 'serve', '*']\nignore = true", &ALL);
}

#[test]
fn by_path_peer_and_port() {
    assert_left(
        "path = '/var/log/*'\nignore = true",
        &[SOCKETS, HEAP, ("files-1", 1)],
    );
    assert_left("path = '**'\nignore = true", &[SOCKETS, HEAP]);
    assert_left(
        "path = 'c'\nignore = true",
        &[SOCKETS, HEAP, ("files-1", 2)],
    );
    assert_left(
        "peer = '10.0.0.0/8'\nignore = true",
        &[("sockets-1", 2), HEAP, FILES],
    );
    assert_left(
        "peer = ['10.0.0.0/8', 'fd00::7']\nignore = true",
        &[HEAP, FILES],
    );
    assert_left(
        "port = 5432\nignore = true",
        &[("sockets-1", 2), HEAP, FILES],
    );
    assert_left("port = 41000\nignore = true", &[HEAP, FILES]);
    assert_left("port = 443\npeer = '10.0.0.0/8'\nignore = true", &ALL);
}

#[test]
fn expected_numbers_are_fine_and_more_is_not() {
    assert_left("kind = 'sockets'\nexpect = 4", &[HEAP, FILES]);
    assert_left("kind = 'sockets'\nexpect = 3", &ALL);
    assert_left("port = 5432\nexpect = 2", &[("sockets-1", 2), HEAP, FILES]);
    // Both places together hold seven.
    assert_left("function = 'serve'\nexpect = 7", &[HEAP]);
    assert_left("function = 'serve'\nexpect = 6", &ALL);
    let report = after("[[rule]]\nkind = 'sockets'\nexpect = 3\n");
    assert!(
        report.findings[0].evidence[0]
            .starts_with("More are held than the 3 that the rule memguard.toml:1")
    );
    assert!(report.suppressed.is_empty());
}

#[test]
fn thresholds_of_age_use_and_number() {
    assert_left(
        "kind = 'sockets'\nmin_age = '1m'",
        &[("sockets-1", 3), HEAP, FILES],
    );
    assert_left("kind = 'sockets'\nmin_age = '1h'", &[HEAP, FILES]);
    // Of one it is not known when it was used: it counts.
    assert_left(
        "kind = 'sockets'\nmin_idle = '1h'",
        &[("sockets-1", 1), HEAP, FILES],
    );
    assert_left("kind = 'sockets'\nmin_count = 4", &ALL);
    assert_left("kind = 'sockets'\nmin_count = 5", &[HEAP, FILES]);
    assert_left(
        "kind = 'sockets'\nmin_age = '1m'\nmin_count = 4",
        &[HEAP, FILES],
    );
    assert_left(
        "kind = 'sockets'\nmin_age = '1m'\nmin_count = 3",
        &[("sockets-1", 3), HEAP, FILES],
    );
    assert_left("kind = 'memory'\nmin_count = 501", &[SOCKETS, FILES]);
    // Blocks are not listed one by one.
    assert_left("kind = 'memory'\nmin_age = '1h'", &ALL);
}

#[test]
fn severity_is_shown_told_and_never_acted_on() {
    let shown = |keys: &str| {
        let report = after(&format!("[[rule]]\n{keys}\n"));
        let all = report.findings.iter();
        all.map(|one| (one.id.clone(), one.verdict))
            .collect::<Vec<_>>()
    };
    let held = shown("kind = 'sockets'\nseverity = 'held'");
    assert_eq!(
        held[2],
        ("sockets-1".to_owned(), Verdict::Held),
        "and sorted again"
    );
    assert_eq!(
        shown("kind = 'files'\nseverity = 'leak'")[1],
        ("files-1".to_owned(), Verdict::Leak)
    );
    // A rule about some of a finding's objects says nothing of the whole.
    assert_eq!(shown("port = 5432\nseverity = 'held'")[0].1, Verdict::Leak);
    let report = after("[[rule]]\nkind = 'sockets'\nseverity = 'suspect'\nlabel = 'pool'\n");
    let one = report
        .findings
        .iter()
        .find(|one| one.id == "sockets-1")
        .unwrap();
    assert!(!one.fixable && one.labels == ["pool"], "{one:?}");
    assert!(
        one.evidence[0].contains("memguard's own verdict is leak"),
        "{:?}",
        one.evidence
    );
    let mut young = super::tests::report();
    young.findings[2].verdict = Verdict::Early;
    let rules = toml::parse("x", "[[rule]]\nkind = 'files'\nseverity = 'leak'\n").unwrap();
    Rules {
        rules,
        suppressions: vec![],
        ..Rules::default()
    }
    .apply(&mut young);
    assert_eq!(
        young.findings[2].verdict,
        Verdict::Early,
        "what is too young stays so"
    );
}

#[test]
fn what_is_left_of_a_finding_has_its_share() {
    let report = after("[[rule]]\nport = 5432\nignore = true\n");
    let one = &report.findings[0];
    assert_eq!(
        (one.rate_per_hour, one.exhaustion_s),
        (Some(50.0), Some(2000.0))
    );
    assert!(
        one.resources
            .iter()
            .all(|open| open.peer.as_deref() == Some("[fd00::7]:443"))
    );
    assert!(one.evidence[0].starts_with("2 of 4 are fine by the rule memguard.toml:1 (port=5432"));
}

#[test]
fn the_report_says_which_rule_hid_what() {
    let report = after(
        "[[rule]]\nport = 5432\nignore = true\n[[rule]]\nkind = 'pipes'\nignore = true\n[[rule]]\nfunction = 'serve'\nignore = true\n",
    );
    let said: Vec<(&str, u64, u64)> = report
        .suppressed
        .iter()
        .map(|rule| (rule.rule.as_str(), rule.count, rule.objects))
        .collect();
    assert_eq!(
        said,
        [
            ("memguard.toml:1 (port=5432 ignore=true)", 0, 2),
            ("memguard.toml:7 (function='serve' ignore=true)", 2, 5)
        ]
    );
}

#[test]
fn health_is_of_what_is_left() {
    let before = crate::detect::health::health(&report()).score;
    let after = after("[[rule]]\nprocess = 'app'\nignore = true\n").health;
    assert!(after.score > before, "{after:?}");
    assert_eq!(after.parts[0].score, Some(100));
}

#[test]
fn suppressions_of_lsan_hide_heap_findings() {
    let mut report = report();
    let rules = Rules {
        rules: vec![],
        suppressions: lsan::parse("lsan.supp", "leak:shop\nleak:nothing\n").unwrap(),
        ..Rules::default()
    };
    rules.apply(&mut report);
    let kinds: Vec<Kind> = report.findings.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [Kind::Sockets, Kind::Files]);
    let hidden = &report.suppressed[0];
    assert_eq!(
        (hidden.rule.as_str(), hidden.count, hidden.objects),
        ("lsan.supp:1 (leak:shop)", 1, 500)
    );
    assert_eq!(report.suppressed.len(), 1);
}

/// Run by hand, with --release and --nocapture: a figure and no promise.
#[test]
#[ignore = "a measurement"]
fn many_rules_on_many_findings() {
    let mut report = samples::report();
    let kept = report.findings[0].clone();
    report.findings.clear();
    for at in 0..1000 {
        let mut finding = kept.clone();
        let frame = |function: String| Frame {
            function: Some(function),
            file: Some(format!("/src/module{}/file{at}.cpp", at % 37)),
            module: Some("/opt/app/bin/server".into()),
            ..Frame::default()
        };
        let names = (0..10).map(|depth| {
            format!(
                "app::part{}::handler{at}::call{depth}(int, char const*)",
                at % 50
            )
        });
        finding.stack = names.map(frame).collect();
        finding.id = format!("files-{at:016x}");
        report.findings.push(finding);
    }
    let forms = [
        "function = \"app::other*::handler{}\"",
        "function = \"*::nothing{}::*\"",
        "function = \"no_such_function_{}\"",
        "file = \"/src/gone{}/*.cpp\"",
        "path = \"/var/lib/app{}/**\"",
    ];
    let rule = |at: usize| {
        format!(
            "[[rule]]\n{}\nignore = true\n",
            forms[at % 5].replace("{}", &at.to_string())
        )
    };
    let text: String = (0..5000).map(rule).collect();
    let begun = std::time::Instant::now();
    let rules = Rules {
        rules: toml::parse("memguard.toml", &text).unwrap(),
        ..Rules::default()
    };
    let read = begun.elapsed();
    let begun = std::time::Instant::now();
    rules.apply(&mut report);
    println!(
        "5000 rules read in {read:?}, applied to 1000 findings in {:?}",
        begun.elapsed()
    );
    assert_eq!(report.findings.len(), 1000);
}
