//! Another allocator, preloaded before ours or after, or linked.
//!
//! Guards: sampled blocks are marked by alignment only where memalign, malloc
//! and free come from one allocator; what an allocator maps for itself is not
//! recorded. Without the first the allocator of malloc and free alone ends the
//! program at the first sampled block that is given back; without the second
//! its arenas are counted beside the blocks in them. A program at a fixed
//! address that keeps a pointer to malloc has an entry of that name, and no
//! malloc of its own: taken for one, its heap would not be seen. What lies before
//! a block is read of glibc's blocks only: of nothing, hardened allocators give
//! out pages that cannot be read. Blocks of eight bytes may lie between multiples of
//! sixteen: taken for mappings, their rows would stay.

use std::path::{Path, PathBuf};

use memguard_tests::{Mode, Program, compile, skip};
use shm_protocol::codes::Kind;

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

const NAMES: [&str; 4] = [
    "libjemalloc.so.2",
    "libtcmalloc.so.4",
    "libtcmalloc_minimal.so.4",
    "libmimalloc.so.2",
];

fn installed() -> impl Iterator<Item = PathBuf> {
    let paths = NAMES.iter().map(|name| Path::new(LIBRARIES).join(name));
    paths.filter(|path| skip::file("allocators", &path.to_string_lossy()))
}

/// The fixture of all functions that every allocator has.
fn heap_edges() -> Program {
    Program::fixture("heap_edges").arg("foreign")
}

#[test]
fn preloaded_before() {
    for library in installed() {
        heap_edges().preload_before(&library).assert_same().ok();
    }
}

#[test]
fn preloaded_after() {
    for library in installed() {
        heap_edges().preload_after(&library).assert_same().ok();
    }
}

/// Each with operator new and delete of its own, some of them with sizes.
#[test]
fn operators_of_the_allocators_own() {
    for library in installed() {
        let news = Program::fixture("news").arg("foreign");
        news.clone().preload_before(&library).assert_same().ok();
        news.preload_after(&library).assert_same().ok();
    }
}

#[test]
fn jemallocs_own_functions() {
    let library = format!("{LIBRARIES}/{}", NAMES[0]);
    if skip::file("allocators", &library) {
        let path = compile::program_with("jemalloc_own", &[&library]);
        Program::at(path).assert_same().ok();
    }
}

#[test]
fn linked() {
    for library in installed() {
        let flags = ["-Wl,--no-as-needed", library.to_str().expect("UTF-8")];
        let program = Program::at(compile::program_with("heap_edges", &flags)).arg("foreign");
        program.assert_same().ok();
    }
}

/// As Debian's python and node are built.
#[test]
fn a_pointer_to_malloc_is_no_malloc_of_the_programs_own() {
    let flags = ["-no-pie", "-fno-pie", "-DPOINTED"];
    // So fine a sample meets each of the two large blocks.
    let program = Program::at(compile::program_with("malloc_user", &flags))
        .env("MEMGUARD_SAMPLE_BYTES", "4096");
    program.assert_same().ok();
    for mode in [Mode::Light, Mode::Deep] {
        let held = program.clone().mode(mode).hold();
        let live = held.report().live_bytes();
        assert!(live >= 1_400_000.0, "{live} bytes are seen, {mode:?}");
        held.finish_ok();
    }
}

#[test]
fn what_another_allocator_keeps_is_seen() {
    for library in installed() {
        let program = Program::fixture("malloc_user").preload_after(&library);
        let held = program.mode(Mode::Deep).hold();
        let sites = held.record().view().sites();
        let mapped: Vec<_> = sites.iter().filter(|s| s.kind == Kind::Mapping).collect();
        assert!(mapped.is_empty(), "{}: {mapped:#?}", library.display());
        let blocks = held.record().blocks();
        let kept = blocks
            .iter()
            .filter(|block| block.row.size_bytes == 700_000)
            .count();
        assert_eq!(kept, 2, "{}", library.display());
        held.finish_ok();
    }
}

#[test]
fn the_smallest_blocks_are_seen_to_go() {
    for library in installed() {
        let program = Program::fixture("eights").preload_after(&library);
        let held = program.mode(Mode::Deep).hold();
        let blocks = held.record().blocks();
        let kept = blocks.iter().filter(|block| block.row.size_bytes == 8);
        assert!(kept.count() < 5, "{}: {blocks:#?}", library.display());
        held.finish_ok();
    }
}

#[test]
fn one_with_malloc_and_free_only() {
    let library = compile::library("only_malloc");
    let user = Program::fixture("malloc_user");
    user.clone().preload_before(&library).assert_same().ok();
    user.clone().preload_after(&library).assert_same().ok();
    let flags = ["-Wl,--no-as-needed", library.to_str().expect("UTF-8")];
    Program::at(compile::program_with("malloc_user", &flags))
        .assert_same()
        .ok();
}

#[test]
fn one_whose_empty_blocks_cannot_be_touched() {
    let library = compile::library("zero_apart");
    let program = Program::fixture("nothing");
    program.clone().preload_before(&library).assert_same().ok();
    program.preload_after(&library).assert_same().ok();
}

/// What an allocator maps to hand it out in parts is no mapping of the
/// program's, wherever the allocator stands.
#[test]
fn what_another_allocator_maps_is_its_own_affair() {
    for library in installed() {
        let user = Program::fixture("malloc_user").mode(Mode::Deep);
        for program in [
            user.clone().preload_before(&library),
            user.preload_after(&library),
        ] {
            let held = program.hold();
            let sites = held.record().view().sites();
            let mapped = sites.iter().filter(|site| site.kind == Kind::Mapping);
            assert_eq!(mapped.count(), 0, "{}", library.display());
            held.finish_ok();
        }
    }
}
