//! Where the memory went: the kernel's account, and how much of the
//! allocator's part the recorded blocks take.

use crate::model::{Memory, MemoryPart, PartName};
use crate::snapshot::{MemoryFact, Snapshot};

/// The resident set in parts that add up to it.
#[must_use]
pub fn memory(snapshot: &Snapshot) -> Option<Memory> {
    let fact = snapshot.facts.memory.as_ref()?;
    let live = snapshot.heap.map(|heap| heap.bytes.round() as u64);
    Some(explain(fact, live, snapshot.facts.rss_bytes))
}

/// Live bytes are what was asked for, estimated where sampled: of them no more
/// than the allocator has in memory can be resident.
fn explain(fact: &MemoryFact, live_bytes: Option<u64>, vm_rss_bytes: Option<u64>) -> Memory {
    let live = live_bytes.unwrap_or(0).min(fact.allocator_bytes);
    let all = [
        (PartName::LiveHeap, live),
        (PartName::AllocatorFree, fact.allocator_bytes - live),
        (PartName::FilesPrivate, fact.files_private_bytes),
        (PartName::FilesShared, fact.files_shared_bytes),
        (PartName::Mappings, fact.mappings_bytes),
        (PartName::Anonymous, fact.anonymous_bytes),
        (PartName::Stacks, fact.stacks_bytes),
        (PartName::Kernel, fact.kernel_bytes),
        (PartName::Memguard, fact.memguard_bytes),
        (PartName::Unread, fact.unread_bytes),
    ];
    let part = |(name, bytes): (PartName, u64)| MemoryPart { name, bytes };
    let mut parts: Vec<MemoryPart> = all.into_iter().map(part).collect();
    parts.retain(|part| part.bytes > 0);
    parts.sort_by_key(|part| (std::cmp::Reverse(part.bytes), part.name));
    Memory {
        // Facts come from files as well: the sum is what the parts are.
        rss_bytes: parts
            .iter()
            .map(|part| part.bytes)
            .fold(0, u64::saturating_add),
        vm_rss_bytes,
        swap_bytes: fact.swap_bytes,
        parts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn live_heap_is_never_more_than_the_allocator_has() {
        let fact = MemoryFact {
            rss_bytes: 130,
            allocator_bytes: 100,
            stacks_bytes: 30,
            ..MemoryFact::default()
        };
        let parts = |live| {
            let memory = explain(&fact, live, None);
            [PartName::LiveHeap, PartName::AllocatorFree].map(|name| memory.bytes(name))
        };
        assert_eq!(parts(Some(70)), [70, 30]);
        assert_eq!(parts(Some(170)), [100, 0]);
        assert_eq!(parts(None), [0, 100]);
        assert_eq!(
            explain(&fact, Some(70), None).parts[0].name,
            PartName::LiveHeap
        );
    }

    proptest! {
        #[test]
        fn the_parts_are_the_whole(figures in proptest::array::uniform9(0u64..1 << 40), live in proptest::option::of(0u64..1 << 41)) {
            let [allocator_bytes, files_private_bytes, files_shared_bytes, mappings_bytes, anonymous_bytes,
                stacks_bytes, kernel_bytes, memguard_bytes, unread_bytes] = figures;
            let fact = MemoryFact {
                rss_bytes: figures.iter().sum(), allocator_bytes, files_private_bytes, files_shared_bytes, mappings_bytes,
                anonymous_bytes, stacks_bytes, kernel_bytes, memguard_bytes, unread_bytes, swap_bytes: 1,
            };
            let memory = explain(&fact, live, None);
            prop_assert_eq!(memory.rss_bytes, fact.rss_bytes);
            prop_assert_eq!(memory.parts.iter().map(|part| part.bytes).sum::<u64>(), fact.rss_bytes);
        }
    }
}
