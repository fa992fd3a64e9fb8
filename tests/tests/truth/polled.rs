//! Waiting for a descriptor leaves no stamp. What stands in the set that the
//! program waits with is in use all the same, however long nothing comes.
//!
//! Guard: the sets of poll are read from the memory of threads that wait; without
//! that, `polled` is a leak as `forgotten` is.

use memguard_tests::facts::json;
use memguard_tests::{Held, Program, skip};
use serde_json::Value;

fn verdict(held: &Held) -> Value {
    let pid = held.pid().to_string();
    let args = ["report", "--min-age", "1s", "--format", "json", &pid];
    let report = memguard_tests::Report {
        value: json(&args, held.folder()),
    };
    let found = report.findings_in("subscribe");
    let mut sockets = found
        .iter()
        .filter(|finding| finding["count"].as_u64() > Some(20));
    let ours = sockets
        .next_back()
        .expect("the sockets that stay are found");
    ours["verdict"].clone()
}

#[test]
fn what_is_only_polled_is_no_leak() {
    // Another user's memory may not be read.
    if !skip::root("truth::what_is_only_polled_is_no_leak") {
        return;
    }
    for (which, expected) in [("polled", "suspect"), ("forgotten", "leak")] {
        let held = Program::fixture("polled").arg(which).hold();
        assert_eq!(verdict(&held), expected, "{which}");
        held.finish_ok();
    }
}
