//! What a reader should know about how much was seen, in sentences.

use shm_protocol::codes::{Counter, note};
use shm_protocol::view::{HeaderInfo, View};

use crate::model::Policy;

/// What each bit that the library sets means for whoever reads the report.
const SENTENCES: [(u64, &str); 14] = [
    (
        note::ANONYMOUS,
        "No file could be made for the record, so it is lost when the process ends.",
    ),
    (
        note::SECCOMP_AT_START,
        "A seccomp filter was in force at the start, so the record is small and in memory only.",
    ),
    (
        note::SECCOMP_LATER,
        "A seccomp filter was installed later; from then on the record could not grow.",
    ),
    (
        note::MLOCKALL,
        "The process locks its memory, so the record was not allowed to grow.",
    ),
    (
        note::FOREIGN_ALLOCATOR,
        "Another allocator is in use; sampled blocks are followed by a filter instead of by alignment.",
    ),
    (
        note::UNSHARED_FILES,
        "A thread left the shared descriptor table; what it opens and closes is not recorded.",
    ),
    (
        note::PID_GATE,
        "A child shares this memory, so descriptor events are checked with the kernel and cost more.",
    ),
    (
        note::FRAME_POINTERS_ONLY,
        "Call stacks were taken by frame pointers only and may be cut short.",
    ),
    (note::SMALL, "A resource limit kept the record small."),
    (
        note::NO_POPULATE,
        "This kernel cannot grow the record safely, so its tables have a fixed size.",
    ),
    (
        note::GROWTH_STOPPED,
        "Memory ran short, so the record stopped growing and is incomplete.",
    ),
    (
        note::BAD_VARIABLE,
        "A MEMGUARD_ variable had a value that was not understood and was ignored.",
    ),
    (
        note::IO_URING,
        "The process uses io_uring, whose reads and closes no hook sees.",
    ),
    (
        note::STATIC_ALLOCATOR,
        "Another malloc comes before memguard's, the program's own or one preloaded ahead of it, so the heap is out of \
         reach; if it was preloaded, name memguard's library first.",
    ),
];

/// All that applies.
#[must_use]
pub fn notes(view: &View<'_>, header: &HeaderInfo, dropped_rows: u64) -> Vec<String> {
    let set = SENTENCES.iter().filter(|(bit, _)| header.notes & bit != 0);
    let mut notes: Vec<String> = set.map(|(_, sentence)| (*sentence).to_owned()).collect();
    if header.policy == Some(shm_protocol::codes::Policy::Hybrid) {
        notes.push("Hybrid monitoring runs light until a watcher switches it.".to_owned());
    }
    notes.extend(counted(
        dropped_rows,
        "was closed",
        "were closed",
        "without the library seeing it",
    ));
    notes.extend(torn(view.torn()));
    notes.extend(senseless(view.refused().saturating_add(view.cut_rows())));
    notes.extend(stackless(view));
    notes
}

fn counted(count: u64, one: &str, many: &str, how: &str) -> Option<String> {
    let (noun, verb) = if count == 1 {
        ("descriptor", one)
    } else {
        ("descriptors", many)
    };
    (count > 0).then(|| format!("{count} {noun} {verb} {how}; the kernel's list was believed."))
}

fn torn(rows: u64) -> Option<String> {
    (rows > 0).then(|| {
        format!("{rows} rows of the record were being written or damaged, and were left out.")
    })
}

fn senseless(parts: u64) -> Option<String> {
    (parts > 0)
        .then(|| "Parts of the record make no sense or are cut off, and were left out.".to_owned())
}

fn stackless(view: &View<'_>) -> Option<String> {
    let count = view.counter(Counter::StacksSkipped);
    (count > 0).then(|| {
        format!("{count} events came on a stack that could not be walked and have no call stack.")
    })
}

/// Events that the library had no room for.
#[must_use]
pub fn lost_events(view: &View<'_>) -> u64 {
    use Counter::{FdsFull, HeapFull, RowsFull, SamplesLost, SitesFull};
    [HeapFull, SitesFull, FdsFull, RowsFull, SamplesLost]
        .into_iter()
        .map(|counter| view.counter(counter))
        .fold(0, u64::saturating_add)
}

/// The policy in our words; a process told to be off has none.
#[must_use]
pub fn policy(header: &HeaderInfo) -> Option<Policy> {
    use shm_protocol::codes::Policy as Row;
    match header.policy? {
        Row::Off => None,
        Row::Light => Some(Policy::Light),
        Row::Deep => Some(Policy::Deep),
        Row::Hybrid => Some(Policy::Hybrid),
    }
}
