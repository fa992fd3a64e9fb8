//! What each writer makes of the samples, word for word.

use super::{Csv, Folded, Json, Layout, Render, Text, samples};
use crate::error::OutputError;

fn plain(text: Result<String, OutputError>) -> String {
    anstream::adapter::strip_str(&text.unwrap())
        .to_string()
        .replace('\u{a0}', "_")
}

fn text(width: usize, all: bool) -> Text {
    Text::new(Layout { width, all })
}

#[test]
fn report_on_narrow_and_wide_screens() {
    insta::assert_snapshot!(
        "report_80",
        plain(text(80, false).report(&samples::report()))
    );
    insta::assert_snapshot!(
        "report_200",
        plain(text(200, false).report(&samples::report()))
    );
    insta::assert_snapshot!(
        "report_all",
        plain(text(100, true).report(&samples::report()))
    );
}

#[test]
fn closes_of_numbers_that_were_not_open() {
    let mut report = samples::report();
    report.findings.clear();
    report.bad_closes = samples::bad_closes();
    insta::assert_snapshot!("report_closes", plain(text(100, false).report(&report)));
}

#[test]
fn report_from_outside_and_of_a_family() {
    insta::assert_snapshot!(
        "report_outside",
        plain(text(100, false).report(&samples::outside()))
    );
    let mut family = samples::report();
    family.process.alive = false;
    family.findings.truncate(1);
    family.children = vec![crate::model::Report {
        findings: vec![],
        ..samples::report()
    }];
    insta::assert_snapshot!("report_family", plain(text(100, false).report(&family)));
}

#[test]
fn what_ended_young_is_told_how_it_can_be_judged() {
    let mut ended = samples::report();
    ended.process.alive = false;
    ended
        .findings
        .retain(|finding| finding.verdict >= crate::model::Verdict::Early);
    let said = plain(text(100, false).report(&ended));
    assert!(
        said.contains("memguard run --min-age 0s -- COMMAND"),
        "{said}"
    );
}

#[test]
fn what_several_places_fill_runs_out_sooner_than_each_says() {
    let mut report = samples::report();
    report.findings[0].exhaustion_s = Some(7200.0);
    report.findings.truncate(1);
    report.health = crate::detect::health::health(&report);
    let alone = plain(text(100, false).report(&report));
    assert!(!alone.contains("All together"), "{alone}");
    report.findings.push(report.findings[0].clone());
    report.health = crate::detect::health::health(&report);
    let both = plain(text(100, false).report(&report));
    let first: Vec<&str> = both.lines().take(3).collect();
    assert!(
        first.contains(&"All together: descriptors run out in 60 min."),
        "{both}"
    );
}

#[test]
fn what_has_no_descriptor_is_not_sought_among_them() {
    let mut report = samples::report();
    report.findings.truncate(1);
    let sockets = plain(text(100, false).report(&report));
    assert!(
        sockets.contains("memguard fds 4312 --kind sockets"),
        "{sockets}"
    );
    report.findings[0].kind = crate::model::Kind::Threads;
    for one in &mut report.findings[0].resources {
        one.fd = None;
    }
    let threads = plain(text(100, false).report(&report));
    assert!(
        threads.contains("memguard report 4312 --kind threads --all"),
        "{threads}"
    );
}

#[test]
fn only_estimates_are_called_so() {
    let mut deep = samples::report();
    let sampled = plain(text(200, false).report(&deep));
    assert!(
        sampled.contains("~68 KiB") && sampled.contains("in about 12_345 blocks"),
        "{sampled}"
    );
    deep.coverage.heap = crate::model::HeapCoverage::Full;
    let exact = plain(text(200, false).report(&deep));
    assert!(
        !exact.contains('~') && exact.contains("heap in 12_345 blocks"),
        "{exact}"
    );
    deep.coverage.full_since = Some(deep.taken_at);
    let late = plain(text(200, false).report(&deep));
    assert!(
        late.contains("every heap block since 2026-03-01T12:00:00Z, before that a sample"),
        "{late}"
    );
}

#[test]
fn lines_fit_the_screen() {
    for width in [80, 100, 140, 200] {
        for text in [
            text(width, true).report(&samples::report()),
            text(width, false).list(&samples::list()),
            text(width, false).fds(&samples::fds()),
        ] {
            let text = plain(text);
            // Commands to type and file names are never broken or cut.
            let long = text
                .lines()
                .find(|line| line.chars().count() > width && !line.contains("memguard "));
            assert_eq!(long, None, "at {width}");
        }
    }
}

#[test]
fn nothing_of_the_target_reaches_the_terminal() {
    let documents = [
        text(200, true).report(&samples::report()),
        text(200, false).list(&samples::list()),
    ];
    for document in documents {
        assert!(!document.unwrap().contains("\u{1b}[31mred"));
    }
}

#[test]
fn lists_and_descriptors() {
    insta::assert_snapshot!("list", plain(text(120, false).list(&samples::list())));
    insta::assert_snapshot!("fds", plain(text(120, false).fds(&samples::fds())));
    insta::assert_snapshot!("doctor", plain(text(80, false).doctor(&samples::doctor())));
}

#[test]
fn json_is_the_model_and_comes_back() {
    let report = samples::report();
    let json = Json.report(&report).unwrap();
    insta::assert_snapshot!("report_json", json);
    assert_eq!(
        serde_json::from_str::<crate::model::Report>(&json).unwrap(),
        report
    );
    insta::assert_snapshot!("list_json", Json.list(&samples::list()).unwrap());
    insta::assert_snapshot!("fds_json", Json.fds(&samples::fds()).unwrap());
    insta::assert_snapshot!("doctor_json", Json.doctor(&samples::doctor()).unwrap());
}

#[test]
fn folded_and_csv() {
    insta::assert_snapshot!("report_folded", Folded.report(&samples::report()).unwrap());
    insta::assert_snapshot!("report_csv", plain(Csv.report(&samples::report())));
    insta::assert_snapshot!("list_csv", Csv.list(&samples::list()).unwrap());
    insta::assert_snapshot!("fds_csv", Csv.fds(&samples::fds()).unwrap());
}

#[test]
fn a_format_without_a_shape_says_what_to_use() {
    let refused = Folded.list(&samples::list()).unwrap_err().to_string();
    assert_eq!(
        refused,
        "`--format folded` is not for `memguard list`; use text, json or csv."
    );
    assert!(Csv.doctor(&samples::doctor()).is_err() && Folded.doctor(&samples::doctor()).is_err());
}
