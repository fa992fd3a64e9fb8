//! Rows found by a key: timers, registrations and watches, ended threads,
//! children.

use super::{View, u64_at};
use crate::codes::{Kind, Section, thing_flag};
use crate::plain::{self, MARK, Plain, PlainRow};
use core::mem::offset_of;

/// Such a thing by the library's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ThingInfo {
    pub kind: Kind,
    /// See [`ThingInfo::numbers`].
    pub key: u64,
    pub row: Plain,
}

impl ThingInfo {
    /// Epoll and number, inotify and watch, 1 and the kernel's timer id, 1 and
    /// the pid. Of no meaning for a thread.
    pub fn numbers(&self) -> (u32, u32) {
        plain::numbers(self.key)
    }

    /// An ended thread's number and the bytes of its stack.
    pub fn thread(&self) -> (u32, u64) {
        (self.row.detail as u32, (self.row.detail >> 32) << 12)
    }

    /// A timer's period in milliseconds (0 for one shot), when it is armed.
    pub fn period_ms(&self) -> Option<u64> {
        (self.row.flags & thing_flag::ARMED != 0).then_some(self.row.detail)
    }
}

/// The sections that hold such rows.
const SECTIONS: [Section; 4] = [
    Section::Timers,
    Section::Registrations,
    Section::Threads,
    Section::Children,
];

impl View<'_> {
    /// All live rows of those sections, by section.
    pub fn things(&self) -> Vec<ThingInfo> {
        let (mut things, mut torn) = (Vec::new(), 0);
        for section in SECTIONS {
            for (_, row) in self.rows(section) {
                match decode(section, row) {
                    Decoded::Whole(thing) => things.push(thing),
                    Decoded::Torn => torn += 1,
                    Decoded::Nothing => {}
                }
            }
        }
        self.count_torn(torn);
        things
    }
}

enum Decoded {
    Whole(ThingInfo),
    Torn,
    Nothing,
}

fn decode(section: Section, row: &[u8]) -> Decoded {
    let key = u64_at(row, offset_of!(PlainRow, id));
    if key == 0 {
        return Decoded::Nothing;
    }
    let [detail, origin, state] = [
        offset_of!(PlainRow, detail),
        offset_of!(PlainRow, origin),
        offset_of!(PlainRow, state),
    ]
    .map(|field| u64_at(row, field));
    match plain::unpack(key, detail, origin, state) {
        Some(row) if key & 1 == 0 => match kind_of(section, key) {
            Some(kind) => Decoded::Whole(ThingInfo { kind, key, row }),
            None => Decoded::Nothing,
        },
        _ => Decoded::Torn,
    }
}

/// None for a notice of the library to itself.
fn kind_of(section: Section, key: u64) -> Option<Kind> {
    let marked = key & MARK != 0;
    match section {
        Section::Timers => Some(Kind::PosixTimer),
        Section::Registrations if marked => Some(Kind::Watch),
        Section::Registrations => Some(Kind::Registration),
        Section::Threads => (!marked).then_some(Kind::Thread),
        Section::Children => Some(Kind::Child),
        _ => None,
    }
}
