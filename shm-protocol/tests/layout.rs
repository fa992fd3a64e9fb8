//! The layout as committed: a library and a reader of different age must agree
//! on every byte, so nothing here changes by accident.
#![cfg(not(loom))]

use shm_protocol::activity::Pause;
use shm_protocol::closes::BadClose;
use shm_protocol::codes::{Allocator, COUNTERS, Counter, Kind, Mode, Policy, Section, State};
use shm_protocol::fds::{FdInfo, FdRow};
use shm_protocol::heap::HeapRow;
use shm_protocol::layout::{self, ABI_MAJOR, ABI_MINOR, CLASSES, DATA_AT, DIRECTORY_AT, EXTENTS};
use shm_protocol::mailbox::{Answer, MailState, Phase, Verb};
use shm_protocol::plain::{self, PlainRow};
use shm_protocol::ring::{Action, Event, RingSlot};
use shm_protocol::sync::{AtomicU64, Ordering};
use shm_protocol::weight::Class;
use shm_protocol::words::{Frame, Origin};
use shm_protocol::{closes, heap, hist, mailbox, pins, ring, sites, words};
use std::fmt::Write;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/layout.golden");

/// Flags live in plain constants; their source lines are the list of them.
const CODES: &str = include_str!("../src/codes.rs");

#[test]
fn the_layout_is_the_committed_one() {
    let now = table();
    if std::env::var_os("ACCEPT_LAYOUT").is_some() {
        std::fs::write(GOLDEN, &now).unwrap();
    }
    let committed = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    let (gone, new) = (
        missing_from(&now, &committed),
        missing_from(&committed, &now),
    );
    assert!(
        now == committed,
        "the segment's layout is not the committed one.\nNo longer there:\n{gone}New:\n{new}\
         Bump the ABI in shm-protocol/src/layout.rs: ABI_MAJOR when something moved, went or \
         changed its meaning, ABI_MINOR when something was only added. Then accept it with \
         ACCEPT_LAYOUT=1 cargo test -p shm-protocol --test layout."
    );
}

/// Lines of `from` that `list` does not have.
fn missing_from(list: &str, from: &str) -> String {
    let lines = from
        .lines()
        .filter(|line| !list.lines().any(|l| l == *line));
    lines.map(|line| format!("  {line}\n")).collect()
}

fn table() -> String {
    let mut out = format!(
        "abi {ABI_MAJOR}.{ABI_MINOR} magic {:#018x}\n",
        layout::MAGIC
    );
    constants(&mut out);
    for found in pins::ALL {
        structure(&mut out, found);
    }
    for section in Section::ALL {
        let row = layout::row_bytes(section);
        writeln!(out, "section {} {section:?} row {row}", section as u32).unwrap();
    }
    codes(&mut out);
    flags(&mut out);
    samples(&mut out);
    out
}

fn constants(out: &mut String) {
    let all = [
        ("directory at", DIRECTORY_AT),
        ("extents", EXTENTS),
        ("data at", DATA_AT),
        ("classes", CLASSES),
        ("counters", COUNTERS),
        ("rows of a heap bucket", heap::ROWS),
        ("checkpoints of a site", sites::POINTS),
        ("buckets of lifetimes", hist::BUCKETS),
        ("slots of an index window", sites::WINDOW),
        ("rows of a window", plain::WINDOW),
        ("slots of the mailbox", mailbox::SLOTS),
        ("arguments of a command", mailbox::ARGUMENTS),
        ("events of the ring", ring::EVENTS),
        ("rows of bad closes", closes::ROWS),
        ("sites at most", words::MAX_SITES as usize),
    ];
    for (name, value) in all {
        writeln!(out, "constant {value} {name}").unwrap();
    }
}

fn structure(out: &mut String, found: &pins::Struct) {
    let pins::Struct {
        name,
        size_bytes,
        align_bytes,
        ..
    } = found;
    writeln!(out, "struct {name} size {size_bytes} align {align_bytes}").unwrap();
    for pins::Field {
        name: field,
        offset,
        size_bytes,
    } in found.fields
    {
        writeln!(out, "{name} {offset} +{size_bytes} {field}").unwrap();
    }
}

fn codes(out: &mut String) {
    macro_rules! list {
        ($($name:ident as $number:ty),*) => {
            $(for member in $name::ALL {
                writeln!(out, "{} {} {member:?}", stringify!($name), member as $number).unwrap();
            })*
        };
    }
    list!(
        Kind as u8,
        Mode as u8,
        Policy as u8,
        State as u32,
        Counter as usize,
        Phase as u8,
        Allocator as u32,
        Verb as u16,
        Answer as u16
    );
}

fn flags(out: &mut String) {
    let mut module = "";
    for line in CODES.lines() {
        if let Some(name) = line.strip_prefix("pub mod ") {
            module = name.trim_end_matches(" {");
        } else if let Some(flag) = line.strip_prefix("    pub const ") {
            writeln!(out, "{module} {flag}").unwrap();
        }
    }
}

/// Packed words and hashes: both sides compute them, so they are layout too.
fn samples(out: &mut String) {
    let origin = Origin {
        at_ms: 0x12345,
        site: 0x6789,
    };
    let [heap_origin, heap_size, heap_check] = HeapRow {
        origin,
        size_bytes: 4096,
        class: 3,
        flags: 1,
        thread: 77,
    }
    .pack(0x7000);
    let fd = FdRow::default();
    fd.insert(
        9,
        &FdInfo {
            origin,
            kind: 35,
            flags: 4,
            generation: 0,
            source: Some(7),
        },
    );
    let head = AtomicU64::new(5);
    let slots = [RingSlot::default()];
    ring::push(
        &head,
        &slots,
        Event {
            origin: 1,
            what: 2,
            id: 3,
        },
    );
    let mail = MailState {
        phase: Phase::Done,
        sequence: 6,
    };
    let bad_close = PlainRow::default();
    closes::write(
        &bad_close,
        &BadClose {
            fd: 9,
            origin,
            earlier: Some(origin),
            made_site: 3,
        },
    );
    let thing = [PlainRow::default()];
    let timer = plain::pair(1, 9);
    plain::insert(
        &thing,
        timer,
        &plain::Plain {
            origin,
            detail: 5,
            used_ms: 0x234,
            flags: 1,
        },
    );
    let [thing] = thing;
    let all = [
        ("key of timer 9", timer),
        ("key of watch 2 of 7", plain::pair(7, 2) | plain::MARK),
        (
            "window of timer 9 in 64",
            plain::window_of(timer, 64) as u64,
        ),
        ("timer state", thing.state.into_inner()),
        ("check of 1, 2, 3", u64::from(words::check16(1, 2, 3))),
        (
            "hash of kind 16 and frames 1, 2",
            words::site_hash(16, &[1, 2]),
        ),
        (
            "index slot of hash -1, site 5",
            sites::slot_word(u64::MAX, 5),
        ),
        (
            "index window of hash 1000 in 64",
            sites::window_of(1000, 64) as u64,
        ),
        (
            "heap bucket of 0x7000 in 1024",
            heap::bucket_of(0x7000, 1024) as u64,
        ),
        ("heap origin", heap_origin),
        ("heap size", heap_size),
        ("heap check", heap_check),
        ("descriptor state", fd.state.into_inner()),
        ("descriptor source", fd.source.into_inner()),
        (
            "native frame",
            Frame::Native {
                module: 1,
                offset: 2,
            }
            .pack(),
        ),
        ("named frame", Frame::Name(2).pack()),
        ("raw frame", Frame::Raw(2).pack()),
        ("class of all", Class::All.pack()),
        ("class by bytes", Class::Bytes(512).pack()),
        ("class by rate", Class::Rate(7).pack()),
        ("event middle word", Event::what(Action::GivenBack, 1, 64)),
        ("event ticket", slots[0].ticket.load(Ordering::Relaxed)),
        ("command state", mail.pack()),
        ("bad close's last word", bad_close.state.into_inner()),
        ("pause of 5 to 9", Pause { from_s: 5, to_s: 9 }.pack()),
        ("lifetime bucket of a minute", hist::bucket(60_000) as u64),
    ];
    for (name, value) in all {
        writeln!(out, "word {value:#x} {name}").unwrap();
    }
}

#[test]
fn no_two_fields_share_a_byte_and_none_is_left_over() {
    for found in pins::ALL {
        let mut end = 0;
        for field in found.fields {
            assert_eq!(field.offset, end, "{} before {}", found.name, field.name);
            end += field.size_bytes;
        }
        assert_eq!(end, found.size_bytes, "end of {}", found.name);
    }
}
