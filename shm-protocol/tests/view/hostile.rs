//! Segments made to mislead a reader or to drown it in work.

use crate::damage::{put, word};
use crate::image::inspect::inspect;
use crate::image::plan::{ModulePlan, Plan};
use crate::image::{Image, abi};
use shm_protocol::caches::{self, CacheRow, name_words};
use shm_protocol::closes::{self, BadClose};
use shm_protocol::codes::Section;
use shm_protocol::fds::{FdInfo, FdRow};
use shm_protocol::heap::{HeapBucket, HeapRow};
use shm_protocol::plain::{self, MARK, Plain, PlainRow};
use shm_protocol::sync::Ordering;
use shm_protocol::view::{MAX_FRAMES, View, ViewError};
use shm_protocol::words::{Frame, Origin};

fn sample() -> Vec<u8> {
    Plan::sample(12).write().bytes
}

#[test]
fn what_is_no_segment_is_refused_by_name() {
    let whole = sample();
    let with = |at, value| {
        let mut bytes = whole.clone();
        put(&mut bytes, at, value);
        View::new(&bytes).map(|_| ())
    };
    assert_eq!(with(0, 0), Err(ViewError::NotReady));
    assert_eq!(with(0, 7), Err(ViewError::NotASegment), "scribbled over");
    assert_eq!(
        View::new(&[0; 20_000]).map(|_| ()),
        Err(ViewError::NotASegment)
    );
    let other = ViewError::OtherVersion { major: 9, minor: 3 };
    assert_eq!(with(8, 9 << 32 | 3), Err(other));
    assert_eq!(
        View::new(&whole[..12_287]).map(|_| ()),
        Err(ViewError::TooShort)
    );
}

#[test]
fn a_later_minor_version_with_new_sections_is_read() {
    let mut bytes = sample();
    let before = inspect(&bytes).unwrap();
    put(&mut bytes, 8, abi() + 7);
    // An entry that nobody uses yet, of a section that this version lacks.
    put(&mut bytes, 4096 + 40 * 199, 64 << 32 | 4_000_000);
    let after = inspect(&bytes).unwrap();
    assert_eq!(
        (after.sites, after.blocks, after.refused),
        (before.sites, before.blocks, 0)
    );
}

#[test]
fn longer_rows_of_a_later_version_are_read_as_far_as_known() {
    let mut image = Image::new(1 << 20);
    let at = image.add(Section::Fds, 0, 8);
    let info = FdInfo {
        kind: 16,
        ..FdInfo::default()
    };
    for fd in 0..4 {
        image.rows::<FdRow>(at, 8)[2 * fd].insert(fd as u32, &info);
    }
    let mut bytes = image.into_bytes();
    // The same bytes as four rows of twice the size.
    put(&mut bytes, 4096, 64 << 32 | Section::Fds as u64);
    put(&mut bytes, 4096 + 24, 4);
    let found = inspect(&bytes).unwrap();
    let fds: Vec<u32> = found.descriptors.iter().map(|row| row.fd).collect();
    assert_eq!((fds, found.torn), (vec![0, 1, 2, 3], 0));
    // Rows shorter than this version's are no such rows.
    put(&mut bytes, 4096, 31 << 32 | Section::Fds as u64);
    assert_eq!(inspect(&bytes).unwrap().refused, 1);
}

#[test]
fn stacks_and_build_ids_longer_than_can_be_are_cut() {
    let mut plan = Plan::sample(1);
    plan.sites[0].frames = vec![Frame::Raw(7); 300];
    let mut bytes = plan.write().bytes;
    assert_eq!(inspect(&bytes).unwrap().sites[0].frames.len(), MAX_FRAMES);
    let module = offset_of(&bytes, Section::Modules);
    for length in [25, 1 << 32, u64::MAX] {
        put(&mut bytes, module + 64, length);
        assert_eq!(inspect(&bytes).unwrap().modules[0].build_id.len(), 24);
    }
}

#[test]
fn settings_without_end_are_cut() {
    let mut image = Image::new(1 << 20);
    let at = image.add(Section::Settings, 0, 200_000);
    image.write(at, "=\0".repeat(100_000).as_bytes());
    let found = inspect(&image.into_bytes()).unwrap();
    assert_eq!(found.settings.len(), (64 << 10) / 2);
}

/// A row that a longjmp or a cancelled thread left half-written.
#[test]
fn a_row_never_published_is_torn() {
    let mut image = Image::new(1 << 20);
    let at = image.add(Section::Heap, 0, 1);
    let bucket = &image.rows::<HeapBucket>(at, 1)[0];
    bucket.insert(0x5000, &HeapRow::default());
    // An odd key is a claim, even where the words already fit it.
    bucket.insert(0x7001, &HeapRow::default());
    let found = inspect(&image.into_bytes()).unwrap();
    assert_eq!((found.blocks.len(), found.torn), (1, 1));
}

/// Rows half-written, mixed of two, of no meaning here, and one that is whole.
#[test]
fn only_whole_things_are_told() {
    let mut image = Image::new(1 << 20);
    let at = image.add(Section::Threads, 0, 8);
    let rows = image.rows::<PlainRow>(at, 8);
    let put = |row: usize, key, site| {
        let origin = Origin { at_ms: 5, site };
        let plain = Plain {
            origin,
            ..Plain::default()
        };
        plain::insert(&rows[row..=row], key, &plain);
    };
    put(0, 0x5000, 1);
    put(1, 0x6001, 2);
    put(2, 0x7000, 3);
    rows[2].origin.store(9 << 24 | 4, Ordering::Relaxed);
    put(3, 0x8000 | MARK, 5);
    let found = inspect(&image.into_bytes()).unwrap();
    let keys: Vec<u64> = found.things.iter().map(|thing| thing.key).collect();
    assert_eq!((keys, found.torn), (vec![0x5000], 2));
}

fn offset_of(bytes: &[u8], section: Section) -> usize {
    let view = View::new(bytes).unwrap();
    let mut extents = view.extents().iter();
    extents.find(|e| e.section == section).unwrap().offset
}

/// All 200 entries of the directory over the same bytes: decoded once.
#[test]
fn extents_laid_over_each_other_are_refused() {
    let mut image = Image::new(1 << 20);
    let rows = (1 << 20) / 256 - 64;
    let heap = image.add(Section::Heap, 0, rows);
    let buckets = image.rows::<HeapBucket>(heap, rows);
    for (i, bucket) in buckets.iter().enumerate() {
        bucket.insert((i as u64 + 1) << 12, &HeapRow::default());
    }
    let mut bytes = image.into_bytes();
    let entry = bytes[4096..4136].to_vec();
    for i in 1..200 {
        bytes[4096 + 40 * i..4136 + 40 * i].copy_from_slice(&entry);
        // Not quite the same bytes each time.
        let offset = heap as u64 + 8 * i as u64;
        put(&mut bytes, 4096 + 40 * i + 8, offset);
    }
    let found = inspect(&bytes).unwrap();
    assert_eq!((found.blocks.len(), found.refused), (rows, 199));
}

/// Thousands of modules that all name one long path of bytes that are no text.
#[test]
fn one_path_named_by_all_modules_does_not_multiply() {
    let plan = Plan {
        modules: vec![
            ModulePlan {
                path: "x".repeat(4096),
                build_id: Vec::new(),
                loaded: true,
                bias: 0,
            };
            60
        ],
        ..Plan::default()
    };
    let mut bytes = plan.write().bytes;
    let view = View::new(&bytes).unwrap();
    let section = |section| {
        *view
            .extents()
            .iter()
            .find(|e| e.section == section)
            .unwrap()
    };
    let modules = section(Section::Modules);
    let strings = section(Section::Strings);
    // The rest of the file as module rows: the first one over and over.
    let row = bytes[modules.offset..modules.offset + 96].to_vec();
    bytes[strings.offset..strings.offset + 4096].fill(0xFF);
    let start = bytes.len();
    bytes.extend(row.iter().copied().cycle().take(96 * 20_000));
    let at = 4096 + 40 * 100;
    for (i, value) in [96 << 32 | 1, start as u64, 61, 20_000]
        .into_iter()
        .enumerate()
    {
        put(&mut bytes, at + 8 * i, value);
    }
    let found = inspect(&bytes).unwrap();
    assert_eq!(found.modules.len(), 20_060);
    assert!(
        found.modules.last().unwrap().path.is_empty(),
        "the budget was spent"
    );
}

#[test]
fn rows_numbered_alike_are_refused() {
    let mut bytes = sample();
    let before = inspect(&bytes).unwrap();
    let view = View::new(&bytes).unwrap();
    let extents: Vec<_> = view.extents().to_vec();
    let mut fds = extents.iter().filter(|e| e.section == Section::Fds);
    let second = fds.next_back().unwrap().offset as u64;
    let entry = (0..200)
        .find(|i| word(&bytes, 4096 + 40 * i + 8) == second)
        .unwrap();
    put(&mut bytes, 4096 + 40 * entry + 16, 0);
    let after = inspect(&bytes).unwrap();
    assert_eq!(after.refused, 1);
    assert_eq!(
        after.descriptors, before.descriptors,
        "those of the first extent stand"
    );
}

#[test]
fn bad_closes_beyond_their_table_are_left_alone() {
    let mut image = Image::new(1 << 20);
    let at = image.add(Section::BadCloses, 0, 5000);
    let close = |fd| BadClose {
        fd,
        ..BadClose::default()
    };
    for (fd, row) in image.rows::<PlainRow>(at, 5000).iter().enumerate() {
        closes::write(row, &close(fd as u32));
    }
    let mut bytes = image.into_bytes();
    assert_eq!(inspect(&bytes).unwrap().bad_closes.len(), closes::ROWS);
    // A number that is none, and a site that another close came from.
    put(&mut bytes, at, u64::MAX);
    put(&mut bytes, at + 32 + 16, 77);
    let found = inspect(&bytes).unwrap();
    assert_eq!((found.bad_closes.len(), found.torn), (closes::ROWS - 2, 2));
}

#[test]
fn caches_are_what_was_registered_last() {
    let mut image = Image::new(1 << 20);
    let at = image.add(Section::Caches, 0, 200);
    let rows = image.rows::<CacheRow>(at, 200);
    for row in rows {
        row.enter(1, 0, &name_words(b"old"));
        row.leave();
    }
    rows[3].enter(5, 1, &name_words(&[b'x'; 100]));
    rows[3].measured(7, 0);
    rows[4].enter(7, 0, &name_words(b"pages"));
    rows[100].enter(1, 0, &name_words(b"beyond the table"));
    let mut bytes = image.into_bytes();
    let found = inspect(&bytes).unwrap().caches;
    let names: Vec<usize> = found.iter().map(|cache| cache.name.len()).collect();
    assert_eq!(names, [caches::NAME_BYTES, 5]);
    let [measured, never] = [&found[0], &found[1]].map(|cache| cache.size_bytes);
    assert_eq!((measured, never, found[0].number), (Some(7), None, 3));
    // A generation that says that nobody is there.
    put(&mut bytes, at + 4 * 128, 8);
    assert_eq!(inspect(&bytes).unwrap().caches.len(), 1);
}

#[test]
fn pauses_that_end_before_they_begin_are_none() {
    let mut bytes = sample();
    put(&mut bytes, 240, 5 << 32 | 9);
    put(&mut bytes, 248, 9 << 32 | 5);
    let pauses = inspect(&bytes).unwrap().header.pauses;
    assert_eq!(pauses[0], None);
    assert_eq!(pauses[1].map(|pause| pause.seconds()), Some(4));
}
