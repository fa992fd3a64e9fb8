//! Generated rules parse back, and hide exactly what they were made for.

use super::*;
use crate::model::Kind;
use crate::render::samples;
use proptest::prelude::*;

fn finding(id: usize, kind: Kind, verdict: Verdict, calls: &[(Option<&str>, &str)]) -> Finding {
    let frame = |(function, file): &(Option<&str>, &str)| Frame {
        function: function.map(str::to_owned),
        file: Some(format!("/src/{file}")),
        module: Some("/opt/bin/app".into()),
        offset: Some(0x10),
        line: Some(1),
    };
    Finding {
        id: format!("{}-{id}", kind.name()),
        kind,
        verdict,
        resources: vec![],
        stack: calls.iter().map(frame).collect(),
        summary: "60 others\n\"are\" \u{1b}[31mold".into(),
        ..samples::report().findings[0].clone()
    }
}

fn with(findings: Vec<Finding>) -> Report {
    Report {
        findings,
        ..samples::report()
    }
}

#[track_caller]
fn assert_exact(report: &Report, all: bool) -> String {
    let text = rules_for(report, all);
    let rules = parsed(&text).unwrap_or_else(|| panic!("it does not parse:\n{text}"));
    let mut left = report.clone();
    rules.apply(&mut left);
    let hidden = |one: &Finding| !left.findings.iter().any(|kept| kept.id == one.id);
    for one in &report.findings {
        let wanted = all || one.verdict < Verdict::Early;
        assert_eq!(hidden(one), wanted, "{} by\n{text}", one.id);
    }
    text
}

#[test]
fn the_shortest_rule_that_is_exact_is_taken() {
    use Verdict::{Held, Leak, Suspect};
    let f = (Some("ask_price(int)"), "shop.cpp");
    let g = (Some("serve"), "serve.c");
    let by_function = assert_exact(
        &with(vec![
            finding(1, Kind::Sockets, Leak, &[f, g]),
            finding(2, Kind::Sockets, Held, &[g]),
        ]),
        false,
    );
    assert!(
        by_function.contains("function = \"ask_price(int)\"\nignore"),
        "{by_function}"
    );
    // The same function leads to something held: only the calls differ.
    let by_calls = assert_exact(
        &with(vec![
            finding(1, Kind::Files, Suspect, &[f]),
            finding(2, Kind::Files, Held, &[g, f]),
        ]),
        false,
    );
    assert!(
        by_calls.contains("stack = [\"ask_price(int)\"]\n"),
        "{by_calls}"
    );
    let by_id = assert_exact(
        &with(vec![
            finding(1, Kind::Files, Suspect, &[f]),
            finding(2, Kind::Files, Held, &[f]),
        ]),
        false,
    );
    assert!(by_id.contains("id = \"files-1\"\n"), "{by_id}");
    assert!(
        by_id.contains("# suspect: 60 files. 60 others\\n\"are\" "),
        "{by_id}"
    );
    assert!(!by_id.contains('\u{1b}'));
}

#[test]
fn one_rule_is_enough_for_places_that_share_it() {
    let f = (Some("ask_price"), "shop.cpp");
    let g = (Some("serve"), "serve.c");
    let two = vec![
        finding(1, Kind::Files, Verdict::Leak, &[f, g]),
        finding(2, Kind::Files, Verdict::Leak, &[f]),
    ];
    assert_eq!(
        assert_exact(&with(two), false).matches("[[rule]]").count(),
        1
    );
}

#[test]
fn nothing_found_is_nothing_to_paste() {
    let text = rules_for(&with(vec![]), false);
    assert_eq!(parsed(&text).unwrap().rules.len(), 0);
}

fn calls() -> impl Strategy<Value = Vec<(Option<&'static str>, &'static str)>> {
    let functions = [
        Some("f"),
        Some("f(int)"),
        Some("std::map<int, A*>::operator[](int const&)"),
        Some("{lambda()#1}::operator()"),
        Some("a\\b\"c"),
        Some("*"),
        None,
    ];
    let one = (
        prop::sample::select(functions.to_vec()),
        prop::sample::select(vec!["a.c", "b[1].c"]),
    );
    prop::collection::vec(one, 0..4)
}

proptest! {
    #[test]
    fn they_hide_exactly_what_is_shown(
        places in prop::collection::vec((calls(), 0usize..5, any::<bool>()), 0..8),
        all in any::<bool>(),
    ) {
        let verdicts = [Verdict::Leak, Verdict::Growing, Verdict::Suspect, Verdict::Early, Verdict::Held];
        let findings = places.iter().enumerate().map(|(at, (calls, verdict, sockets))| {
            let kind = if *sockets { Kind::Sockets } else { Kind::Memory };
            finding(at, kind, verdicts[*verdict], calls)
        });
        assert_exact(&with(findings.collect()), all);
    }

    #[test]
    fn any_name_survives_the_quotes(name in "\\PC{1,20}|[\u{0}-\u{1f}\"\\\\]{1,8}") {
        let f = (Some(name.as_str()), "a.c");
        assert_exact(&with(vec![finding(1, Kind::Files, Verdict::Leak, &[f])]), false);
    }
}
