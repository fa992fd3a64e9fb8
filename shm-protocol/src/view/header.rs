//! The header's words, and the settings the process started with.

use super::View;
use crate::activity::{PAUSES, Pause};
use crate::codes::{Allocator, COUNTERS, Counter, Mode, Policy, Section, State, note};
use crate::layout::{CLASSES, Header};
use crate::weight::Class;
use core::mem::offset_of;

/// Bytes of settings that a reader looks at.
const MAX_SETTINGS: usize = 64 << 10;

/// Plain copy of the header's words. Field meanings: [`Header`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct HeaderInfo {
    pub abi_major: u32,
    pub abi_minor: u32,
    pub state: u32,
    pub pid: u32,
    pub parent_pid: u32,
    pub uid: u32,
    pub image: u32,
    pub pid_namespace: u64,
    pub start_ticks: u64,
    pub boot: u64,
    pub created_real_ns: u64,
    pub created_mono_ns: u64,
    pub tick_s: u64,
    pub mode: Option<Mode>,
    pub policy: Option<Policy>,
    pub wanted_mode: u64,
    pub applied_mode: u64,
    pub mode_until_ms: u64,
    pub light_class: u32,
    pub deep_class: u32,
    pub allocator: Option<Allocator>,
    pub used_bytes: u64,
    pub limit_bytes: u64,
    pub notes: u64,
    pub module_generation: u64,
    pub fd_limit: u64,
    pub run_id: u64,
    /// 0 where it is not known
    pub folder_hash: u64,
    pub pauses: [Option<Pause>; PAUSES],
    pub classes: [Option<Class>; CLASSES],
    pub cmdline: Vec<String>,
    pub executable: String,
}

impl HeaderInfo {
    /// Whether the process ended normally.
    pub fn ended(&self) -> bool {
        self.state == State::Ended as u32 || self.unwanted()
    }

    /// Whether it ended so and nobody wanted its record.
    pub fn unwanted(&self) -> bool {
        self.state == State::Unwanted as u32
    }

    /// Whether exec was the last that this image did, or is under way.
    pub fn replaced(&self) -> bool {
        self.notes & note::REPLACED != 0 && !self.ended()
    }

    /// Wall clock of a moment in the segment, ns since 1970.
    pub fn real_ns(&self, at_ms: u64) -> u64 {
        self.created_real_ns
            .saturating_add(at_ms.saturating_mul(1_000_000))
    }
}

impl View<'_> {
    /// The header.
    pub fn header(&self) -> HeaderInfo {
        let word = |at| self.u64(at);
        let half = |at| self.u32(at);
        let abi = word(offset_of!(Header, abi));
        HeaderInfo {
            abi_major: (abi >> 32) as u32,
            abi_minor: abi as u32,
            state: half(offset_of!(Header, state)),
            pid: half(offset_of!(Header, pid)),
            parent_pid: half(offset_of!(Header, parent_pid)),
            uid: half(offset_of!(Header, uid)),
            image: half(offset_of!(Header, image)),
            pid_namespace: word(offset_of!(Header, pid_namespace)),
            start_ticks: word(offset_of!(Header, start_ticks)),
            boot: word(offset_of!(Header, boot)),
            created_real_ns: word(offset_of!(Header, created_real_ns)),
            created_mono_ns: word(offset_of!(Header, created_mono_ns)),
            tick_s: word(offset_of!(Header, tick_s)),
            mode: Mode::from_number(half(offset_of!(Header, mode)) as u8),
            policy: Policy::from_number(half(offset_of!(Header, policy)) as u8),
            wanted_mode: word(offset_of!(Header, wanted_mode)),
            applied_mode: word(offset_of!(Header, applied_mode)),
            mode_until_ms: word(offset_of!(Header, mode_until_ms)),
            light_class: half(offset_of!(Header, light_class)),
            deep_class: half(offset_of!(Header, deep_class)),
            allocator: Allocator::from_number(half(offset_of!(Header, allocator))),
            used_bytes: word(offset_of!(Header, used_bytes)),
            limit_bytes: word(offset_of!(Header, limit_bytes)),
            notes: word(offset_of!(Header, notes)),
            module_generation: word(offset_of!(Header, module_generation)),
            fd_limit: word(offset_of!(Header, fd_limit)),
            run_id: word(offset_of!(Header, run_id)),
            folder_hash: word(offset_of!(Header, folder_hash)),
            pauses: core::array::from_fn(|i| {
                Pause::unpack(word(offset_of!(Header, pauses) + 8 * i))
            }),
            classes: core::array::from_fn(|i| {
                Class::unpack(word(offset_of!(Header, classes) + 8 * i))
            }),
            cmdline: self.cmdline(),
            executable: self.text(offset_of!(Header, executable), 512),
        }
    }

    /// Arguments as far as they fit; empty ones at the end are not seen.
    fn cmdline(&self) -> Vec<String> {
        let at = offset_of!(Header, cmdline);
        let bytes = self.bytes.get(at..at + 512).unwrap_or_default();
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else {
            return Vec::new();
        };
        let arguments = bytes[..=last].split(|byte| *byte == 0);
        arguments
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect()
    }

    /// Text of at most `room` bytes that a 0 ends.
    fn text(&self, at: usize, room: usize) -> String {
        let bytes = self
            .bytes
            .get(at..at.saturating_add(room))
            .unwrap_or_default();
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    /// A counter of the header.
    pub fn counter(&self, counter: Counter) -> u64 {
        debug_assert!((counter as usize) < COUNTERS);
        self.u64(offset_of!(Header, counters) + 8 * counter as usize)
    }

    /// The `MEMGUARD_*` variables that the process started with.
    pub fn settings(&self) -> Vec<(String, String)> {
        let Some(bytes) = self.row(Section::Settings, 0) else {
            return Vec::new();
        };
        let bytes = &bytes[..bytes.len().min(MAX_SETTINGS)];
        let lines = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        lines
            .filter_map(|line| line.split_once('=').map(|(k, v)| (k.into(), v.into())))
            .collect()
    }
}
