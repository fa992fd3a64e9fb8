//! Every struct of the segment, pinned: size, alignment, and each field's offset.
//!
//! The asserts stop a build whose compiler lays anything out differently or
//! that forgot to pin a field; [`ALL`] is the same as a table, which the golden
//! layout test compares with the committed one.

use crate::caches::CacheRow;
use crate::fds::FdRow;
use crate::heap::HeapBucket;
use crate::layout::{Extent, Header, ModuleRow, Slab};
use crate::mailbox::MailSlot;
use crate::plain::PlainRow;
use crate::ring::RingSlot;
use crate::sites::{Checkpoint, Site};
use core::mem::{align_of, offset_of, size_of};

/// A struct of the segment. All figures are bytes.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Struct {
    pub name: &'static str,
    pub size_bytes: usize,
    pub align_bytes: usize,
    pub fields: &'static [Field],
}

/// A field of one of them.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Field {
    pub name: &'static str,
    pub offset: usize,
    pub size_bytes: usize,
}

const fn size_of_field<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! pins {
    ($($name:ident $size:literal align $align:literal {
        $($field:ident: $at:literal),* $(,)?
    })*) => {
        $(const _: () = {
            assert!(size_of::<$name>() == $size && align_of::<$name>() == $align);
            $(assert!(offset_of!($name, $field) == $at);)*
            // Does not compile when a field is missing from the list.
            let _ = |whole: $name| {
                let $name { $($field: _),* } = whole;
            };
        };)*

        /// Every struct that lies in a segment.
        pub const ALL: &[Struct] = &[$(Struct {
            name: stringify!($name),
            size_bytes: $size,
            align_bytes: $align,
            fields: &[$(Field {
                name: stringify!($field),
                offset: $at,
                size_bytes: size_of_field::<$name, _>(|whole| &whole.$field),
            }),*],
        }),*];
    };
}

pins! {
    Header 1856 align 8 {
        magic: 0, abi: 8, state: 16, extents: 20, pid: 24, parent_pid: 28, uid: 32, image: 36,
        pid_namespace: 40, start_ticks: 48, boot: 56, created_real_ns: 64,
        created_mono_ns: 72, tick_s: 80, mode: 88, policy: 92, wanted_mode: 96,
        wanted_until_ms: 104, applied_mode: 112, mode_until_ms: 120, mode_after: 128,
        light_class: 132, deep_class: 136, allocator: 140, used_bytes: 144,
        limit_bytes: 152, notes: 160, heartbeat_ms: 168, ring_head: 176,
        stack_words: 184, string_bytes: 192, site_rows: 200, module_rows: 208,
        module_generation: 216, fd_limit: 224, run_id: 232, pauses: 240,
        mail: 288, folder_hash: 296, reserved_b: 304,
        classes: 320, counters: 448, cmdline: 832, executable: 1344,
    }
    Extent 40 align 8 {
        kind: 0, offset: 8, first_row: 16, rows: 24, version: 32,
    }
    ModuleRow 96 align 8 {
        state: 0, bias: 8, start: 16, end: 24, path: 32, build_id: 40,
        build_id_bytes: 64, loads: 72, loaded_ms: 80, unloaded_ms: 88,
    }
    HeapBucket 256 align 64 {
        keys: 0, words: 64,
    }
    FdRow 32 align 8 {
        origin: 0, state: 8, closed: 16, source: 24,
    }
    Checkpoint 24 align 8 {
        at_ms: 0, births: 8, deaths: 16,
    }
    Site 960 align 64 {
        hash: 0, shape: 8, stack: 16, first_ms: 24, births: 32, deaths: 40,
        bytes_born: 48, bytes_died: 56, est_births: 64, est_bytes_born: 72,
        est_deaths: 80, est_bytes_died: 88, unsure: 96, longest_ms: 104,
        next_at_ms: 112, steps: 120, lifetimes: 128, points: 352, reserved: 928,
    }
    RingSlot 32 align 8 {
        ticket: 0, origin: 8, what: 16, id: 24,
    }
    MailSlot 128 align 64 {
        state: 0, verb: 8, expires_ms: 16, arguments: 24, result: 104, done_ms: 112,
        check: 120,
    }
    CacheRow 128 align 64 {
        state: 0, flags: 8, name: 16, size_bytes: 80, measured_ms: 88, shrinks: 96,
        given_bytes: 104, longest_ns: 112, reserved: 120,
    }
    Slab 64 align 64 {
        births: 0, deaths: 8, bytes_born: 16, bytes_died: 24, consumed_bytes: 32,
        consumed_calls: 40, reserved: 48,
    }
    PlainRow 32 align 8 {
        id: 0, detail: 8, origin: 16, state: 24,
    }
}
