//! How long the reader takes over a large segment: a million live blocks, ten
//! thousand sites, ten thousand descriptors.
//!
//!     cargo run --release -p shm-protocol --example decode

#[path = "../tests/image/mod.rs"]
mod image;

use image::Image;
use shm_protocol::codes::{Kind, Section};
use shm_protocol::fds::{FdInfo, FdRow};
use shm_protocol::heap::{HeapBucket, HeapRow, Inserted, bucket_of};
use shm_protocol::sites::{Amount, Site};
use shm_protocol::sync::{AtomicU64, Ordering};
use shm_protocol::view::View;
use shm_protocol::words::{Frame, Origin};
use std::time::{Duration, Instant};

const BLOCKS: u64 = 1_000_000;
const SITES: usize = 10_000;
const FRAMES: usize = 20;
const FDS: usize = 10_000;

fn main() {
    let bytes = segment();
    println!("{} MiB of segment", bytes.len() >> 20);
    let view = View::new(&bytes).expect("a whole segment");
    measure("blocks", || view.blocks().len());
    measure("sites", || view.sites().len());
    measure("descriptors", || view.descriptors().len());
}

fn measure(what: &str, decode: impl Fn() -> usize) {
    let (mut rows, mut least) = (0, Duration::MAX);
    let (start, before) = (Instant::now(), cpu_time());
    let mut runs = 0;
    while runs < 15 || start.elapsed() < Duration::from_millis(300) {
        let run = Instant::now();
        rows = decode();
        least = least.min(run.elapsed());
        runs += 1;
    }
    let cpu = (cpu_time() - before) / runs;
    println!(
        "{rows:>8} {what}: {cpu:.1?} of CPU in the mean of {runs} runs, {least:.1?} by the clock at best"
    );
}

/// What this thread has had of the processor: on a busy machine the clock on
/// the wall says nothing.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = text.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or_default())
}

fn segment() -> Vec<u8> {
    let mut image = Image::new(160 << 20);
    // As the table grows: levels that double, filled to about half.
    let levels = [1 << 14, 1 << 16, 1 << 17, 1 << 17]
        .map(|buckets| (image.add(Section::Heap, 0, buckets), buckets));
    for i in 1..=BLOCKS {
        insert(&image, &levels, i * 4096);
    }
    write_sites(&mut image);
    let at = image.add(Section::Fds, 0, FDS);
    for (fd, row) in image.rows::<FdRow>(at, FDS).iter().enumerate() {
        let info = FdInfo {
            kind: Kind::Socket as u8,
            ..FdInfo::default()
        };
        row.insert(fd as u32, &info);
    }
    image.into_bytes()
}

fn insert(image: &Image, levels: &[(usize, usize)], address: u64) {
    let row = HeapRow {
        origin: Origin {
            at_ms: address >> 12,
            site: 1 + (address >> 12) as u32 % SITES as u32,
        },
        size_bytes: 64,
        ..HeapRow::default()
    };
    let done = levels.iter().any(|&(at, buckets)| {
        let bucket = &image.rows::<HeapBucket>(at, buckets)[bucket_of(address, buckets)];
        bucket.insert(address, &row) == Inserted::Done
    });
    assert!(done, "the levels have room for all blocks");
}

fn write_sites(image: &mut Image) {
    let stacks = image.add(Section::Stacks, 0, SITES * FRAMES);
    let words = image.rows::<AtomicU64>(stacks, SITES * FRAMES);
    for (i, word) in words.iter().enumerate() {
        let frame = Frame::Native {
            module: (i % 50) as u16,
            offset: i as u64,
        };
        word.store(frame.pack(), Ordering::Relaxed);
    }
    let at = image.add(Section::Sites, 0, SITES + 1);
    let sites = image.rows::<Site>(at, SITES + 1);
    for (id, site) in sites.iter().enumerate().skip(1) {
        let stack = ((id - 1) * FRAMES) as u64;
        site.define(id as u64, Kind::Heap as u8, stack, FRAMES as u16, 0);
        let amount = Amount {
            bytes: 64,
            est_256: 256,
            est_bytes: 64,
        };
        (1..30).for_each(|second| site.born(amount, second * 1000));
    }
}
