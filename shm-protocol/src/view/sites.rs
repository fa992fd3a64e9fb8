//! Call sites with their stacks and checkpoints.

use super::{View, u32_at, u64_at};
use crate::codes::{Kind, Section};
use crate::hist::BUCKETS;
use crate::sites::{Checkpoint, POINTS, Site};
use crate::words::{Frame, MAX_SITES};
use core::mem::{offset_of, size_of};

/// Most frames in a stack record that a reader believes.
pub const MAX_FRAMES: usize = 256;

/// A call site. Field meanings: [`Site`].
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct SiteInfo {
    pub id: u32,
    pub kind: Kind,
    pub hash: u64,
    /// Innermost first.
    pub frames: Vec<Frame>,
    pub first_ms: u64,
    pub births: u64,
    pub deaths: u64,
    pub bytes_born: u64,
    pub bytes_died: u64,
    /// Estimated blocks made.
    pub est_births: f64,
    pub est_bytes_born: u64,
    pub est_deaths: f64,
    pub est_bytes_died: u64,
    pub unsure: u64,
    pub longest_ms: u64,
    pub lifetimes: [u32; BUCKETS],
    /// Oldest first; only those that rise in time and count.
    pub points: Vec<PointInfo>,
}

/// Cumulative births and deaths at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PointInfo {
    pub at_ms: u64,
    pub births: u64,
    pub deaths: u64,
}

impl View<'_> {
    /// All sites with a finished row, by id.
    ///
    /// Read while it runs, a death may be counted whose birth is not yet:
    /// deaths are cut at births in every column.
    pub fn sites(&self) -> Vec<SiteInfo> {
        self.rows(Section::Sites)
            .filter_map(|(id, row)| self.site(id, row.first_chunk()?))
            .collect()
    }

    fn site(&self, id: u64, row: &[u8; size_of::<Site>()]) -> Option<SiteInfo> {
        let word = |field| u64_at(row, field);
        let hash = word(offset_of!(Site, hash));
        if hash == 0 || id == 0 || id > u64::from(MAX_SITES) {
            return None;
        }
        let shape = word(offset_of!(Site, shape));
        let Some(kind) = Kind::from_number(shape as u8) else {
            self.count_torn(1);
            return None;
        };
        let count = usize::from((shape >> 8) as u16).min(MAX_FRAMES);
        let births = word(offset_of!(Site, births));
        let bytes_born = word(offset_of!(Site, bytes_born));
        let est_births = word(offset_of!(Site, est_births));
        let est_bytes_born = word(offset_of!(Site, est_bytes_born));
        let blocks = |parts_256: u64| parts_256 as f64 / 256.0;
        Some(SiteInfo {
            id: id as u32,
            kind,
            hash,
            frames: self.frames(word(offset_of!(Site, stack)), count),
            first_ms: word(offset_of!(Site, first_ms)),
            births,
            deaths: word(offset_of!(Site, deaths)).min(births),
            bytes_born,
            bytes_died: word(offset_of!(Site, bytes_died)).min(bytes_born),
            est_births: blocks(est_births),
            est_bytes_born,
            est_deaths: blocks(word(offset_of!(Site, est_deaths)).min(est_births)),
            est_bytes_died: word(offset_of!(Site, est_bytes_died)).min(est_bytes_born),
            unsure: word(offset_of!(Site, unsure)),
            longest_ms: word(offset_of!(Site, longest_ms)),
            lifetimes: core::array::from_fn(|i| {
                u32_at(row, offset_of!(Site, lifetimes) + size_of::<u32>() * i)
            }),
            points: points(row),
        })
    }

    fn frames(&self, first: u64, count: usize) -> Vec<Frame> {
        let Some((extent, before)) = self.find(Section::Stacks, first) else {
            return Vec::new();
        };
        let words = &self.bytes[extent.offset..extent.end()];
        let words = words
            .chunks_exact(extent.row_bytes)
            .skip(before)
            .take(count);
        let mut frames = Vec::with_capacity(words.len());
        frames.extend(words.filter_map(|word| Frame::unpack(u64_at(word, 0))));
        frames
    }
}

/// Checkpoints that rise: a thinning under way leaves old ones behind new ones.
fn points(row: &[u8; size_of::<Site>()]) -> Vec<PointInfo> {
    let used = (u64_at(row, offset_of!(Site, steps)) & 0xFFFF) as usize;
    let mut points: Vec<PointInfo> = Vec::with_capacity(used.min(POINTS));
    for i in 0..used.min(POINTS) {
        let point = point(row, i);
        let rises = points.last().is_none_or(|last| last.is_before(&point));
        if rises && point.deaths <= point.births {
            points.push(point);
        }
    }
    points
}

fn point(row: &[u8; size_of::<Site>()], i: usize) -> PointInfo {
    let at = offset_of!(Site, points) + size_of::<Checkpoint>() * i;
    PointInfo {
        at_ms: u64_at(row, at + offset_of!(Checkpoint, at_ms)),
        births: u64_at(row, at + offset_of!(Checkpoint, births)),
        deaths: u64_at(row, at + offset_of!(Checkpoint, deaths)),
    }
}

impl PointInfo {
    fn is_before(&self, next: &PointInfo) -> bool {
        self.at_ms < next.at_ms && self.births <= next.births && self.deaths <= next.deaths
    }
}
