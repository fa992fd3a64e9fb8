//! Address spaces made by hand, and our own.

use super::*;
use crate::kernel::Mapping;
use crate::kernel::testing::Running;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

fn one(start: u64, bytes: u64, rights: &str, path: &str, rss_bytes: u64) -> Resident {
    let has = |right| rights.contains(right);
    Resident {
        mapping: Mapping {
            start,
            end: start + bytes,
            readable: has('r'),
            writable: has('w'),
            executable: has('x'),
            shared: has('s'),
            offset: 0,
            device: 7,
            inode: u64::from(path.starts_with('/')),
            path: path.to_owned(),
            deleted: has('d'),
        },
        rss_bytes,
        anonymous_bytes: rss_bytes,
        swap_bytes: 1,
        like_stack: has('n'),
    }
}

fn sum(fact: &MemoryFact) -> u64 {
    fact.allocator_bytes
        + fact.files_private_bytes
        + fact.files_shared_bytes
        + fact.mappings_bytes
        + fact.anonymous_bytes
        + fact.stacks_bytes
        + fact.kernel_bytes
        + fact.memguard_bytes
        + fact.unread_bytes
}

#[test]
fn each_mapping_goes_to_its_part() {
    let arena = 128 * MIB;
    let all = [
        one(0x1000, 0x1000, "rx", "/bin/app", 1),
        one(0x9000, 0x1000, "rw", "[heap]", 10),
        one(arena, MIB, "rw", "", 100),
        one(arena + MIB, 63 * MIB, "", "", 0),
        one(300 * MIB, MIB, "rw", "", 1_000),
        one(400 * MIB, MIB, "rws", "/dev/shm/x", 10_000),
        one(500 * MIB, MIB, "rw", "", 100_000),
        one(600 * MIB, 0x1000, "", "", 0),
        one(600 * MIB + 0x1000, MIB, "rwn", "", 1_000_000),
        one(700 * MIB, MIB, "rw", "[stack]", 10_000_000),
        one(800 * MIB, MIB, "rx", "[vdso]", 100_000_000),
        one(900 * MIB, MIB, "rx", "/opt/libmemguard.so", 1_000_000_000),
    ];
    let known = Known::new([(500 * MIB + 64, 100)].into_iter(), (0, 0));
    let fact = split(&all, &[], &known);
    let parts = [
        fact.files_private_bytes,
        fact.allocator_bytes,
        fact.anonymous_bytes,
        fact.files_shared_bytes,
        fact.stacks_bytes,
        fact.kernel_bytes,
        fact.memguard_bytes,
    ];
    // heap, arena and the map with a block in it; both kinds of stack.
    assert_eq!(
        parts,
        [
            1,
            100_110,
            1_000,
            10_000,
            11_000_000,
            100_000_000,
            1_000_000_000
        ]
    );
    assert_eq!((sum(&fact), fact.swap_bytes), (fact.rss_bytes, 12));
}

#[test]
fn a_stack_pointer_makes_a_stack() {
    let all = [one(MIB, MIB, "rw", "", 5), one(2 * MIB, MIB, "rw", "", 7)];
    assert_eq!(split(&all, &[2 * MIB], &Known::default()).stacks_bytes, 7);
    assert_eq!(
        split(&all, &[2 * MIB - 1], &Known::default()).stacks_bytes,
        5
    );
    assert_eq!(
        split(&all, &[3 * MIB, 0], &Known::default()).stacks_bytes,
        0
    );
}

#[test]
fn what_the_program_mapped_gets_its_share_of_a_joined_mapping() {
    let all = [
        one(MIB, 4 * PAGE, "rw", "", 4 * PAGE),
        one(2 * MIB, PAGE, "rw", "", PAGE),
    ];
    // Three pages of the first, one with a row too long; a block in the fourth.
    let rows = [
        (MIB + MAPPING_TAG, 2 * PAGE - 1),
        (MIB + 2 * PAGE + MAPPING_TAG, PAGE),
        (MIB + 3 * PAGE + 16, 8),
        (2 * MIB + MAPPING_TAG, 1 << 60),
    ];
    let fact = split(&all, &[], &Known::new(rows.into_iter(), (0, 0)));
    assert_eq!(
        (fact.mappings_bytes, fact.allocator_bytes),
        (4 * PAGE, PAGE)
    );
}

#[test]
fn the_segment_is_known_by_its_file_and_without_a_name() {
    let all = [
        one(MIB, MIB, "rwsd", "/dev/zero", 5),
        one(3 * MIB, MIB, "rwsd", "/dev/zero", 7),
    ];
    let mut other = all.clone();
    other[0].mapping.inode = 9;
    let fact = split(&other, &[], &Known::new([].into_iter(), (7, 9)));
    assert_eq!((fact.memguard_bytes, fact.anonymous_bytes), (5, 7));
}

#[test]
fn a_real_process_adds_up_and_its_parts_are_there() {
    let (child, _) = Running::python(
        "import mmap, threading, time\n\
         m = mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); m.write(b'x' * (32 << 20))\n\
         for i in range(4): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n\
         time.sleep(0.3); print(flush=True); time.sleep(60)",
    );
    let fact = look(&child.dir(), 0, &Known::default()).expect("our child");
    assert_eq!(sum(&fact), fact.rss_bytes);
    assert!(fact.anonymous_bytes >= 32 * MIB, "{fact:?}");
    assert!(
        fact.stacks_bytes >= 5 * PAGE && fact.files_private_bytes > MIB,
        "{fact:?}"
    );
    assert_eq!((fact.unread_bytes, fact.mappings_bytes), (0, 0));
}

#[test]
fn a_very_large_process_is_left_alone() {
    let dir = ProcDir::open(std::process::id() as i32).expect("ourselves");
    let fact = look(&dir, MOST_RSS_BYTES + 1, &Known::default()).expect("ours");
    assert_eq!(
        (fact.rss_bytes, fact.unread_bytes),
        (MOST_RSS_BYTES + 1, MOST_RSS_BYTES + 1)
    );
    let fact = look(&dir, MOST_RSS_BYTES, &Known::default()).expect("ours");
    assert_eq!(fact.unread_bytes, 0);
}

proptest! {
    #[test]
    fn nothing_is_lost_or_counted_twice(
        maps in prop::collection::vec((0u64..64, 1u64..64, "[rwxsnd]{0,4}", "(\\[heap\\]|\\[stack\\]|/x|)", 0u64..1 << 30), 0..20),
        rows in prop::collection::vec((any::<u64>(), any::<u64>()), 0..20),
        near in prop::collection::vec((0u64..4096, any::<bool>(), any::<u64>()), 0..20),
        pointers in prop::collection::vec(0u64..1 << 24, 0..5),
    ) {
        let mut at = 0;
        let all: Vec<Resident> = maps.iter().map(|(gap, pages, rights, path, rss)| {
            at += gap * PAGE;
            let made = one(at, pages * PAGE, rights, path, *rss);
            at = made.mapping.end;
            made
        }).collect();
        let near = near.iter().map(|(page, tagged, size)| (page * PAGE + 2 * u64::from(*tagged), *size));
        let known = Known::new(rows.into_iter().chain(near), (7, 1));
        let fact = split(&all, &pointers, &known);
        prop_assert_eq!(sum(&fact), fact.rss_bytes);
        prop_assert_eq!(fact.rss_bytes, all.iter().map(|one| one.rss_bytes).sum::<u64>());
    }
}
