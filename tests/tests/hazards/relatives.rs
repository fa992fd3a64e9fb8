//! Children of one server, which share what they work out of its code.
//!
//! Guards: the steps are those of the code that a child runs. Without the look
//! at what it loaded since it was forked, a child takes the steps of another
//! one's plugin for its own and loses the outer part of the stack.

use memguard_tests::Program;
use memguard_tests::compile;
use memguard_tests::facts::Fd;

const CHILDREN: usize = 10;

#[test]
fn the_stacks_of_all_children_are_whole() {
    // Of one length everywhere, so that the same addresses mean other frames.
    let plugin = |name, room| compile::library_with("plugin", &[name, room]);
    let first = plugin("-DPLUGIN=first", "-DROOM=1296");
    let other = plugin("-DPLUGIN=other", "-DROOM=2296");
    let program = Program::fixture("relatives").arg(first).arg(other);
    let held = program.hold();
    for number in 0..CHILDREN {
        let child = held.value(&format!("child{number}")) as u32;
        let rows = held.fds_of(child).rows();
        let find = |path: &str| rows.iter().find(|fd| fd.path() == path).expect(path);
        let own = ["inner_opens", "middle_opens", "serves", "main"];
        assert_passes(find("/dev/full"), &own);
        let opens = ["first_opens", "other_opens"][number % 2];
        assert_passes(
            find("/dev/zero"),
            &[opens, "plugin_opens", "serves", "main"],
        );
    }
    held.finish_ok();
}

#[track_caller]
fn assert_passes(fd: &Fd, functions: &[&str]) {
    for function in functions {
        assert!(fd.created_in(function), "{function} in {fd:#?}");
    }
}
