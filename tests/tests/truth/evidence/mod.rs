//! Every line of a report's findings, against what is so: lines about the
//! present against /proc and `ss`, lines about the past against the log that
//! the program writes itself. A line of a form that is not known here fails, and so
//! does a form that no finding had.
//!
//! Guards: all that counts in `detect/evidence.rs` and `detect/sentence.rs`. One
//! more or less anywhere there, or a span taken to another moment, fails.

mod lines;
mod log;
mod model;
mod past;
mod present;
mod range;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use memguard_tests::facts::{json, memguard};
use memguard_tests::{Held, Mode, Program, skip};
use serde_json::Value;

use log::{Life, Log};
use model::Site;
use past::Told;
use present::Kernel;
use range::{Range, span};

/// The age from which on things count as old.
const FLOOR_S: f64 = 1.0;
/// What the fixture asks malloc for.
const BLOCK_BYTES: f64 = 2000.0;
/// libc's own blocks for threads; the fixture does not log those.
const LIBCS: [&str; 2] = ["allocate_dtv", "allocate_stack"];

fn hold(ticks: &str) -> Held {
    let program = Program::fixture("evidence").arg(ticks).mode(Mode::Deep);
    program.works_for(Duration::from_secs(60)).hold()
}

fn seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_secs_f64()
}

/// A report, what the kernel said around it, and when it was.
struct Asked {
    report: Value,
    kernel: Kernel,
    log: Log,
    at: Range,
    /// The look before, which counted
    before: Option<Range>,
}

impl Asked {
    fn of(held: &Held, before: Option<Range>) -> Self {
        let (mut kernel, from) = (Kernel::before(held.pid()), seconds());
        let pid = held.pid().to_string();
        let report = json(
            &["report", "--min-age", "1s", "--format", "json", &pid],
            held.folder(),
        );
        let at = Range::new(from, seconds());
        kernel.after();
        Self {
            report,
            kernel,
            log: Log::of(held.said()),
            at,
            before,
        }
    }

    fn findings(&self) -> Vec<&Value> {
        let all = self.report["findings"].as_array().expect("findings").iter();
        all.filter(|finding| {
            let names = functions(finding);
            !names
                .iter()
                .any(|name| LIBCS.iter().any(|libc| name.contains(libc)))
        })
        .collect()
    }

    /// The finding's function, which the program logs under the same name.
    fn function<'a>(&self, finding: &'a Value) -> &'a str {
        let names = functions(finding);
        let logged = |name: &&str| self.log.0.iter().any(|life| life.function == *name);
        names
            .into_iter()
            .find(logged)
            .unwrap_or_else(|| panic!("nobody logged this: {finding:#}"))
    }

    /// The next look counts when the observation, from the program's start on, has
    /// grown by half.
    fn next_look(&self) -> Range {
        let start = Range::new(self.kernel.started().low, self.log.first());
        let counted = self.before.unwrap_or(self.at);
        counted.times(1.5, 1.5) - start.times(0.5, 0.5) - self.at
    }

    fn told<'a>(&'a self, finding: &'a Value) -> Told<'a> {
        let all = self.log.site(self.function(finding));
        let shown_keys = keys(finding);
        // What another finding of the same site is about is not counted here.
        let others = self.findings().into_iter().filter(|other| {
            self.function(other) == self.function(finding) && other["verdict"] != finding["verdict"]
        });
        let others: BTreeSet<i64> = others.flat_map(keys).collect();
        let held = all.iter().copied().filter(|life| life.is_held());
        let is_of_site = |life: &&Life| shown_keys.contains(&life.key);
        let shown = held.clone().filter(is_of_site).collect::<Vec<_>>();
        let rest = held.filter(|life| !others.contains(&life.key)).collect();
        let site = Site {
            all,
            held: rest,
            at: self.at,
        };
        let left = present::memory_left() as f64;
        Told {
            old: self.old(finding, &site),
            removed: self.log.removed(self.function(finding)),
            shown,
            site,
            spare_fds: (self.kernel.limit("Max open files") - self.kernel.open_fds()) as f64,
            spare_bytes: Range::new(left * 0.75, left * 1.3),
            block_bytes: if finding["bytes"].is_null() {
                1.0
            } else {
                BLOCK_BYTES
            },
            next_look: self.next_look(),
        }
    }

    /// The age that it says it takes for old, which must be by the log.
    fn old(&self, finding: &Value, site: &Site<'_>) -> Range {
        let truth = site.old(FLOOR_S);
        let texts = evidence(finding);
        let said = texts
            .iter()
            .find_map(|text| match lines::fit(lines::EVIDENCE, text)? {
                ("old" | "old, then" | "old, longest", places) => span(places[2]),
                _ => None,
            });
        let said = said.unwrap_or(truth);
        assert!(said.meets(truth), "old is {truth:?}: {finding:#}");
        // The floor itself is no measurement.
        if truth.high < FLOOR_S + 0.01 {
            Range::about(FLOOR_S, 0.0005)
        } else {
            said
        }
    }
}

fn functions(finding: &Value) -> Vec<&str> {
    let stack = finding["stack"].as_array().into_iter().flatten();
    stack
        .filter_map(|frame| frame["function"].as_str())
        .collect()
}

fn evidence(finding: &Value) -> Vec<&str> {
    let all = finding["evidence"].as_array().into_iter().flatten();
    all.filter_map(Value::as_str).collect()
}

/// Descriptors, and the numbers of what has none.
fn keys(finding: &Value) -> BTreeSet<i64> {
    let rows = finding["resources"].as_array().into_iter().flatten();
    rows.filter_map(|row| row["fd"].as_i64()).collect()
}

/// The lines of a finding as names and places; one that is not known panics.
fn told_lines(finding: &Value) -> Vec<(&'static str, Vec<&str>, &str)> {
    let summary = finding["summary"].as_str().expect("a sentence");
    let parts = summary.strip_suffix('.').expect("it ends").split("; ");
    let of = |forms, text| {
        let (name, places) =
            lines::fit(forms, text).unwrap_or_else(|| panic!("nobody compares this line: {text}"));
        (name, places, text)
    };
    let facts = evidence(finding)
        .into_iter()
        .map(|text| of(lines::EVIDENCE, text));
    parts
        .map(|text| of(lines::SUMMARY, text))
        .chain(facts)
        .collect()
}

/// Compares all, and gives the names of the lines that there were.
fn compare(asked: &Asked, wrong: &mut Vec<String>) -> BTreeSet<&'static str> {
    let mut seen = BTreeSet::new();
    for finding in asked.findings() {
        let told = asked.told(finding);
        let rows = finding["resources"].as_array().cloned().unwrap_or_default();
        for (name, places, text) in told_lines(finding) {
            seen.insert(name);
            let least_s =
                || span(places[places.len().min(3) - 1]).map_or(f64::MAX, |span| span.low);
            let holds = match name {
                "words" => true,
                "states" => places[0] == asked.kernel.states_of(&rows),
                "proof" | "old, proven" if !asked.kernel.are_abandoned(&rows, least_s()) => false,
                _ => (told.holds(name, &places))
                    .unwrap_or_else(|| panic!("nobody compares {name:?}: {text}")),
            };
            if !holds {
                wrong.push(format!(
                    "{name}: {text}\n  {} {}",
                    asked.function(finding),
                    told.truth()
                ));
            }
        }
        wrong.extend(rows.iter().flat_map(|row| asked.kernel.wrong(row)));
        wrong.extend(rows.iter().filter_map(|row| wrong_times(asked, &told, row)));
    }
    seen
}

/// Age and idle time of one descriptor, by the log.
fn wrong_times(asked: &Asked, told: &Told<'_>, row: &Value) -> Option<String> {
    let life = told
        .site
        .all
        .iter()
        .find(|life| life.is_held() && Some(life.key) == row["fd"].as_i64())?;
    let age = told.site.age(life);
    let is_age = row["age_s"]
        .as_f64()
        .is_some_and(|shown| Range::about(shown, 0.001).meets(age));
    let used = match life.used {
        log::Used::Never => Some(age),
        log::Used::At(at) => Some((asked.at - Range::about(at, 0.0)).wider(range::CLOCK_STEP_S)),
        log::Used::Unknown => None,
    };
    // A stamp is up to two seconds later than the use, and in the last second
    // that the program worked in nothing tells when it was. Of TCP the kernel's times
    // count, which are compared with `ss`.
    let by_stamp = used.filter(|_| row["state"].is_null());
    let idle = row["idle_s"].as_f64();
    let last = (asked.at - Range::about(asked.log.last(), 0.0)).high;
    let is_idle = by_stamp.is_none_or(|used| {
        let by_last = used.low <= last + model::STAMP_S && idle == Some(0.0);
        let within = |idle| Range::new(idle - 0.001, idle + model::STAMP_S).meets(used);
        by_last || idle.is_some_and(within)
    });
    (!is_age || !is_idle).then(|| format!("age or idle time is not the log's: {row} {life:?}"))
}

fn wrong_totals(asked: &Asked) -> Vec<String> {
    let (totals, mut wrong) = (&asked.report["totals"], Vec::new());
    let mut same = |name: &str, shown: &Value, truth: Value| {
        if *shown != truth {
            wrong.push(format!("{name}: {shown}, and it is {truth}"));
        }
    };
    same(
        "open_fds",
        &totals["open_fds"],
        asked.kernel.open_fds().into(),
    );
    same(
        "fd_limit",
        &totals["fd_limit"],
        asked.kernel.limit("Max open files").into(),
    );
    let states = serde_json::to_value(asked.kernel.states()).expect("JSON");
    same("socket_states", &totals["socket_states"], states);
    for kind in ["files", "sockets", "timers", "threads", "children"] {
        let held = totals["held"].as_array().into_iter().flatten();
        let mut shown = held
            .filter(|held| held["kind"] == kind)
            .map(|held| &held["count"]);
        same(
            kind,
            shown.next().unwrap_or(&Value::Null),
            asked.log.held(kind).into(),
        );
    }
    wrong
}

/// Every form of a line that this fixture brings about in one report. `old` comes
/// only where nobody waits between the last birth and the look; its numbers are
/// those of `old, then`.
const SEEN: &[&str] = &[
    "given back",
    "none given back",
    "lost",
    "held on",
    "held bytes on",
    "proof",
    "held",
    "one held",
    "more",
    "more bytes",
    "descriptors run out",
    "memory runs out",
    "too early",
    "stale",
    "words",
    "lived",
    "two looks",
    "removed",
    "old, proven",
    "old, longest",
    "closing",
    "coming",
    "using",
    "stays",
    "states",
];

#[test]
fn every_line_is_by_the_kernel_and_by_the_programs_own_log() {
    if !skip::file("truth::evidence", "/usr/bin/ss") {
        return;
    }
    let held = hold("800");
    let mut wrong = Vec::new();
    let asked = Asked::of(&held, None);
    let mut seen = compare(&asked, &mut wrong);
    wrong.extend(wrong_totals(&asked));
    let unread: u64 = asked
        .log
        .site("accepts")
        .iter()
        .map(|life| asked.kernel.unread(life.key))
        .sum();
    assert!(
        unread > 0,
        "some of its sockets have bytes that nobody read"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let missing: Vec<_> = SEEN.iter().filter(|name| !seen.contains(*name)).collect();
    assert!(
        missing.is_empty(),
        "no finding was told by {missing:?}: {seen:?}"
    );

    // A person's word has sentences of its own, and some time later others say
    // that they were judged as they last stood.
    for function in ["opens_once", "closes_half"] {
        let all = asked.findings();
        let id = all
            .iter()
            .find(|finding| asked.function(finding) == function)
            .map(|f| f["id"].clone());
        let id = id.expect("it is a finding");
        let pid = held.pid().to_string();
        let done = memguard(
            &["label", "leak", id.as_str().expect("a text"), &pid],
            held.folder(),
        );
        assert!(done.status.success(), "{done:?}");
    }
    std::thread::sleep(Duration::from_millis(1500));
    let again = Asked::of(&held, Some(asked.at));
    seen.extend(compare(&again, &mut wrong));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for name in ["the one", "one given back", "one held on", "old, then"] {
        assert!(
            seen.contains(name),
            "no finding was told by {name:?}: {seen:?}"
        );
    }
    held.finish_ok();
}
