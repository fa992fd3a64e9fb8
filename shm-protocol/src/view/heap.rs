//! Live heap blocks.

use super::{View, u64_at};
use crate::codes::Section;
use crate::heap::{HeapBucket, HeapRow, ROWS};
use core::mem::{offset_of, size_of};

/// A live heap block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct BlockInfo {
    pub address: u64,
    pub row: HeapRow,
}

impl View<'_> {
    /// All live heap blocks, in no order.
    pub fn blocks(&self) -> Vec<BlockInfo> {
        let (mut blocks, mut torn) = (Vec::new(), 0);
        for (_, row) in self.rows(Section::Heap) {
            if let Some(bucket) = row.first_chunk() {
                torn += decode(bucket, &mut blocks);
            }
        }
        self.count_torn(torn);
        blocks
    }
}

/// Appends a bucket's blocks; returns how many of its rows are torn.
fn decode(bucket: &[u8; size_of::<HeapBucket>()], blocks: &mut Vec<BlockInfo>) -> u64 {
    let mut torn = 0;
    for slot in 0..ROWS {
        let address = u64_at(bucket, 8 * slot);
        if address == 0 {
            continue;
        }
        let at = offset_of!(HeapBucket, words) + 24 * slot;
        let words = [0, 8, 16].map(|word| u64_at(bucket, at + word));
        match HeapRow::unpack(address, words) {
            Some(row) if address & 1 == 0 => blocks.push(BlockInfo { address, row }),
            _ => torn += 1,
        }
    }
    torn
}
