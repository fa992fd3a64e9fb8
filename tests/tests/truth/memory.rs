//! Where the memory went, against a program that says where it put it.
//!
//! Guards: every resident byte goes to one part (the sum); stacks are found
//! by their threads, large blocks by the rows of the heap's table.

use memguard_tests::{Held, Mode, Program, Report};

const MIB: u64 = 1 << 20;

/// The bytes of a part, 0 where there is none.
fn part(report: &Report, name: &str) -> u64 {
    let parts = report.value["memory"]["parts"].as_array();
    let parts = parts.expect("a report explains the memory");
    let part = parts.iter().find(|part| part["name"] == name);
    part.map_or(0, |part| part["bytes"].as_u64().expect("bytes"))
}

fn rss(report: &Report) -> u64 {
    report.value["memory"]["rss_bytes"].as_u64().expect("bytes")
}

/// The parts are the whole, and the whole is what the kernel counts.
#[track_caller]
fn assert_adds_up(report: &Report) {
    let parts = report.value["memory"]["parts"].as_array().expect("parts");
    let sum: u64 = parts.iter().filter_map(|part| part["bytes"].as_u64()).sum();
    assert_eq!(sum, rss(report));
    let counted = report.value["memory"]["vm_rss_bytes"].as_u64();
    let apart = counted.expect("the kernel counts").abs_diff(rss(report));
    assert!(apart < 2 * MIB, "{apart} of {}", rss(report));
}

/// At least what the program says it put there, and not much more.
#[track_caller]
fn assert_about(report: &Report, held: &Held, name: &str, key: &str, above: u64) {
    let (found, said) = (part(report, name), held.value(key));
    let fits = found + MIB / 8 >= said && found <= said + above;
    assert!(
        fits,
        "{name}: {found} for {key} {said}: {:#}",
        report.value["memory"]
    );
}

#[test]
fn a_known_shape_is_found_again() {
    for mode in [Mode::Light, Mode::Deep] {
        let held = Program::fixture("memory_shape").mode(mode).hold();
        let report = held.report();
        assert_adds_up(&report);
        assert_about(&report, &held, "mappings", "mapped", MIB);
        assert_about(&report, &held, "files_shared", "shared", MIB);
        assert_about(&report, &held, "files_private", "private", 8 * MIB);
        assert_about(&report, &held, "stacks", "stacks", MIB);
        assert!(part(&report, "memguard") > 0 && part(&report, "unread") == 0);
        let heap = part(&report, "live_heap") + part(&report, "allocator_free");
        let said = held.value("live") + held.value("freed");
        assert!(
            heap >= said && heap < said + 4 * MIB,
            "{mode:?}: {heap} of {said}"
        );
        if mode == Mode::Deep {
            assert_about(&report, &held, "live_heap", "live", MIB);
            assert_about(&report, &held, "allocator_free", "freed", 4 * MIB);
        }
        held.finish_ok();
    }
}

#[test]
fn it_is_known_of_a_dead_process_and_of_one_without_the_library() {
    let mut held = Program::fixture("memory_shape").mode(Mode::Deep).hold();
    let (pid, folder) = (held.pid(), held.folder().to_owned());
    let before = held.report();
    held.kill();
    let after = Report::of(pid, &folder);
    assert!(!after.alive());
    assert_eq!(after.value["memory"], before.value["memory"]);

    let bare = Program::fixture("memory_shape").hold_bare();
    let report = bare.report();
    assert_adds_up(&report);
    assert_about(&report, &bare, "stacks", "stacks", MIB);
    assert_eq!(
        (part(&report, "live_heap"), part(&report, "memguard")),
        (0, 0)
    );
    assert!(part(&report, "anonymous") >= bare.value("mapped"));
    bare.finish_ok();
}

#[test]
fn very_many_mappings_are_known_in_sum() {
    let held = Program::fixture("many_maps").hold();
    let report = held.report();
    assert_adds_up(&report);
    let unread = part(&report, "unread");
    assert!(
        unread > 8 * MIB && unread < held.value("mapped"),
        "{unread}"
    );
    held.finish_ok();
}
