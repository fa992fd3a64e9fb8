//! Descriptors by the library's own account.

use super::{View, u32_at, u64_at};
use crate::activity::TRAPPED;
use crate::codes::{Kind, Section};
use crate::fds::{self, FdInfo, FdRow};
use core::mem::offset_of;

/// A descriptor by the library's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DescriptorInfo {
    pub fd: u32,
    pub info: FdInfo,
    /// `None` when the row names a kind that this version does not know.
    pub kind: Option<Kind>,
    /// Second (since creation) of the last use that a hook saw, if any.
    pub used_s: Option<u32>,
}

impl View<'_> {
    /// All live descriptor rows, by number.
    pub fn descriptors(&self) -> Vec<DescriptorInfo> {
        self.rows(Section::Fds)
            .filter_map(|(fd, row)| self.descriptor(u32::try_from(fd).ok()?, row))
            .collect()
    }

    fn descriptor(&self, fd: u32, row: &[u8]) -> Option<DescriptorInfo> {
        let word = |field| u64_at(row, field);
        let (origin, source) = (offset_of!(FdRow, origin), offset_of!(FdRow, source));
        let state = word(offset_of!(FdRow, state));
        let Some(info) = fds::unpack(fd, word(origin), state, word(source)) else {
            self.count_torn(1);
            return None;
        };
        (info.kind != 0).then(|| DescriptorInfo {
            fd,
            info,
            kind: Kind::from_number(info.kind),
            used_s: self.used_s(fd),
        })
    }

    fn used_s(&self, fd: u32) -> Option<u32> {
        let stamp = self.row(Section::FdStamps, u64::from(fd))?;
        (u32_at(stamp, 0) & !TRAPPED).checked_sub(1)
    }
}
