//! Modules and the strings that rows refer to.

use super::{View, u64_at};
use crate::codes::Section;
use crate::layout::ModuleRow;
use core::mem::offset_of;

/// Longest path or name that a reader believes.
pub const MAX_STRING: usize = 4096;

/// A module. Field meanings: [`ModuleRow`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ModuleInfo {
    pub id: u16,
    pub loaded: bool,
    pub bias: u64,
    pub start: u64,
    pub end: u64,
    pub path: String,
    pub build_id: Vec<u8>,
    pub loads: u64,
    pub loaded_ms: u64,
    pub unloaded_ms: u64,
}

impl View<'_> {
    /// All modules ever seen, by id.
    ///
    /// Any number of rows may name the same path; together their paths are cut
    /// at the size of the copy.
    pub fn modules(&self) -> Vec<ModuleInfo> {
        let mut budget = self.bytes.len();
        self.rows(Section::Modules)
            .filter_map(|(id, row)| self.module(u16::try_from(id).ok()?, row, &mut budget))
            .collect()
    }

    fn module(&self, id: u16, row: &[u8], budget: &mut usize) -> Option<ModuleInfo> {
        let word = |field| u64_at(row, field);
        let state = word(offset_of!(ModuleRow, state));
        if state != 1 && state != 2 {
            return None;
        }
        let path = self.string_bytes(word(offset_of!(ModuleRow, path)));
        let path = &path[..path.len().min(*budget)];
        *budget -= path.len();
        Some(ModuleInfo {
            id,
            loaded: state == 1,
            bias: word(offset_of!(ModuleRow, bias)),
            start: word(offset_of!(ModuleRow, start)),
            end: word(offset_of!(ModuleRow, end)),
            path: String::from_utf8_lossy(path).into_owned(),
            build_id: build_id(row),
            loads: word(offset_of!(ModuleRow, loads)),
            loaded_ms: word(offset_of!(ModuleRow, loaded_ms)),
            unloaded_ms: word(offset_of!(ModuleRow, unloaded_ms)),
        })
    }

    /// A string of the arena: offset (48 bits) over length (16).
    pub fn string(&self, reference: u64) -> String {
        String::from_utf8_lossy(self.string_bytes(reference)).into_owned()
    }

    /// Its bytes, cut at the end of the extent that it starts in.
    fn string_bytes(&self, reference: u64) -> &[u8] {
        let length = ((reference & 0xFFFF) as usize).min(MAX_STRING);
        let bytes = self.row(Section::Strings, reference >> 16);
        bytes.map_or(&[], |bytes| &bytes[..length.min(bytes.len())])
    }
}

fn build_id(row: &[u8]) -> Vec<u8> {
    let at = offset_of!(ModuleRow, build_id);
    let room = offset_of!(ModuleRow, build_id_bytes) - at;
    let length = u64_at(row, offset_of!(ModuleRow, build_id_bytes)).min(room as u64);
    let bytes = row.get(at..at + length as usize);
    bytes.unwrap_or_default().to_vec()
}
