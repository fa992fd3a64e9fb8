//! RLIMIT_FSIZE, RLIMIT_AS, RLIMIT_DATA and RLIMIT_NOFILE.
//!
//! Guards: the segment's file is never made larger than RLIMIT_FSIZE allows;
//! where that is too little for a file the segment is anonymous, and small if
//! the address space is limited too. Without the first the program dies of
//! SIGXFSZ or is not watched; without the last it runs short of memory.

use memguard_tests::{Mode, Program};

/// Same output; one line on standard error may say what is missing.
fn runs_within(limit: &[&str], program: &Program) {
    let program = program.clone().inside(limit);
    let bare = program.bare().ok();
    for mode in Mode::RECORDING {
        let watched = program.clone().mode(mode).watched();
        let what = format!("{limit:?}, {mode:?}: {}", watched.stderr);
        assert_eq!(watched.status, bare.status, "{what}");
        assert_eq!(watched.plain().stdout, bare.plain().stdout, "{what}");
    }
}

#[test]
fn files_may_not_grow() {
    for bytes in ["0", "1", "4096", "100000", "3000000"] {
        runs_within(&["limit", "fsize", bytes], &Program::fixture("plain"));
        runs_within(
            &["limit", "fsize", bytes],
            &Program::fixture("hungry").arg("5"),
        );
    }
}

#[test]
fn a_segment_that_may_not_be_a_file_is_still_read() {
    let held = Program::fixture("plain")
        .inside(&["limit", "fsize", "0"])
        .hold();
    held.assert_fds_agree();
    held.finish_ok();
}

#[test]
fn the_address_space_is_small() {
    // 5 MB of blocks, the program and libc: 12 MB are enough, bare.
    for megabytes in [12, 14, 16, 20, 28, 40, 80] {
        let bytes = format!("{megabytes}000000");
        runs_within(
            &["limit", "as", &bytes],
            &Program::fixture("hungry").arg("5"),
        );
    }
}

/// Without a file all of the segment is mapped at once.
#[test]
fn the_address_space_is_small_and_files_may_not_grow() {
    for megabytes in [12, 16, 20, 24, 28] {
        let bytes = format!("{megabytes}000000");
        runs_within(
            &["limit", "fsize", "0", "limit", "as", &bytes],
            &Program::fixture("hungry").arg("5"),
        );
    }
}

#[test]
fn the_heap_is_small() {
    runs_within(
        &["limit", "data", "12000000"],
        &Program::fixture("hungry").arg("5"),
    );
}

#[test]
fn descriptors_are_few() {
    let program = Program::fixture("plain").inside(&["limit", "nofile", "6"]);
    program.assert_agrees();
}
