//! What to write into a segment, and writing it by the library's own tables.

use super::Image;
use shm_protocol::activity::TRAPPED;
use shm_protocol::closes::{self, BadClose};
use shm_protocol::codes::{Kind, Section};
use shm_protocol::fds::{FdInfo, FdRow};
use shm_protocol::heap::{HeapBucket, HeapRow, Inserted, bucket_of};
use shm_protocol::layout::ModuleRow;
use shm_protocol::mailbox::SLOTS;
use shm_protocol::plain::{self, MARK, Plain, PlainRow};
use shm_protocol::ring::{self, Action, EVENTS, Event, RingSlot};
use shm_protocol::sites::{self, Amount, Lookup, Site, WINDOW};
use shm_protocol::sync::{AtomicU32, AtomicU64, Ordering};
use shm_protocol::weight::Class;
use shm_protocol::words::{Frame, Origin, site_hash};

/// Descriptor rows in the first extent, and in all.
pub const FIRST_FDS: usize = 32;
pub const FDS: usize = 128;
/// Buckets of the two heap levels.
pub const LEVELS: [usize; 2] = [8, 16];
/// Words of the first extent of stacks: small, so that a second one is used.
const FIRST_STACKS: usize = 64;
/// Slots of the two levels of the site index.
const INDEX: [usize; 2] = [WINDOW, 32 * WINDOW];

/// Rows of the two levels of each section of things.
const THING_LEVELS: [usize; 2] = [16, 64];
/// Sections of things.
pub const THING_SECTIONS: [Section; 4] = [
    Section::Timers,
    Section::Registrations,
    Section::Threads,
    Section::Children,
];

/// Everything that goes into a segment.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub cmdline: Vec<String>,
    pub executable: String,
    pub settings: Vec<(String, String)>,
    pub classes: Vec<Class>,
    pub modules: Vec<ModulePlan>,
    pub sites: Vec<SitePlan>,
    pub blocks: Vec<(u64, HeapRow)>,
    pub descriptors: Vec<DescriptorPlan>,
    pub bad_closes: Vec<BadClose>,
    pub things: Vec<ThingPlan>,
    pub events: usize,
}

#[derive(Clone, Debug)]
pub struct ModulePlan {
    pub path: String,
    pub build_id: Vec<u8>,
    pub loaded: bool,
    pub bias: u64,
}

#[derive(Clone, Debug)]
pub struct SitePlan {
    pub kind: Kind,
    pub frames: Vec<Frame>,
    /// Bytes of each birth, a second apart.
    pub births: Vec<u64>,
    /// How many of the first of them died, all at the last birth.
    pub deaths: usize,
}

#[derive(Clone, Debug)]
pub struct DescriptorPlan {
    pub fd: u32,
    pub info: FdInfo,
    pub closed: bool,
    /// Second of the last use.
    pub used_s: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct ThingPlan {
    pub section: Section,
    pub key: u64,
    pub row: Plain,
    pub gone: bool,
}

/// A segment's bytes, and what a reader must find in them where the plan alone
/// does not say it.
pub struct Written {
    pub bytes: Vec<u8>,
    /// Blocks that found room.
    pub blocks: Vec<(u64, HeapRow)>,
    /// Things that found room and are not gone.
    pub things: Vec<ThingPlan>,
    /// Checkpoints of each site: time, births, deaths.
    pub points: Vec<Vec<[u64; 3]>>,
    pub heap_at: usize,
    pub fds_at: usize,
}

impl Plan {
    /// Writes it all.
    pub fn write(&self) -> Written {
        let mut image = Image::new(self.capacity());
        self.write_header(&mut image);
        self.write_settings(&mut image);
        self.write_modules(&mut image);
        let points = self.write_sites(&mut image);
        let (heap_at, blocks) = self.write_blocks(&mut image);
        let fds_at = self.write_descriptors(&mut image);
        self.write_bad_closes(&mut image);
        let things = self.write_things(&mut image);
        self.write_events(&mut image);
        image.add(Section::Mailbox, 0, SLOTS);
        Written {
            bytes: image.into_bytes(),
            blocks,
            things,
            points,
            heap_at,
            fds_at,
        }
    }

    fn capacity(&self) -> usize {
        let frames: usize = self.sites.iter().map(|site| site.frames.len() + 1).sum();
        let strings: usize = self.modules.iter().map(|module| module.path.len()).sum();
        (512 << 10) + frames * 8 + strings + self.sites.len() * 1024 + self.modules.len() * 96
    }

    fn write_header(&self, image: &mut Image) {
        let text = self.cmdline.iter().flat_map(|text| text.bytes().chain([0]));
        let text: Vec<u8> = text.collect();
        write_words(&image.header().cmdline, &text);
        write_words(&image.header().executable, self.executable.as_bytes());
        for (word, class) in image.header().classes.iter().zip(&self.classes) {
            word.store(class.pack(), Ordering::Relaxed);
        }
    }

    fn write_settings(&self, image: &mut Image) {
        let lines = self.settings.iter().map(|(k, v)| format!("{k}={v}\0"));
        let text: String = lines.collect();
        let at = image.add(Section::Settings, 0, text.len().max(1));
        image.write(at, text.as_bytes());
    }

    fn write_modules(&self, image: &mut Image) {
        let text: String = self.modules.iter().map(|m| m.path.as_str()).collect();
        let at = image.add(Section::Strings, 0, text.len().max(1));
        image.write(at, text.as_bytes());
        let at = image.add(Section::Modules, 0, self.modules.len() + 1);
        let rows = image.rows::<ModuleRow>(at, self.modules.len() + 1);
        let mut string = 0;
        for (module, row) in self.modules.iter().zip(rows) {
            write_module(module, row, string);
            string += module.path.len() as u64;
        }
    }

    /// Site ids count from 1, so that row 0 stays empty.
    fn write_sites(&self, image: &mut Image) -> Vec<Vec<[u64; 3]>> {
        let half = self.sites.len() / 2 + 1;
        let first = image.add(Section::Sites, 0, half);
        let second = image.add(Section::Sites, half as u64, half + 1);
        let index = INDEX.map(|slots| (image.add(Section::SiteIndex, 0, slots), slots));
        let mut stacks = Stacks::new(image, self);
        let written = self.sites.iter().enumerate().map(|(i, plan)| {
            let id = i + 1;
            let (at, row) = if id < half {
                (first, id)
            } else {
                (second, id - half)
            };
            let site = &image.rows::<Site>(at, half + 1)[row];
            let frames: Vec<u64> = plan.frames.iter().map(|frame| frame.pack()).collect();
            let hash = site_hash(plan.kind as u8, &frames);
            let count = frames.len() as u16;
            site.define(
                hash,
                plan.kind as u8,
                stacks.store(image, &frames),
                count,
                0,
            );
            enter(image, &index, hash, id as u32);
            live(plan, site)
        });
        written.collect()
    }

    fn write_blocks(&self, image: &mut Image) -> (usize, Vec<(u64, HeapRow)>) {
        let levels = LEVELS.map(|buckets| (image.add(Section::Heap, 0, buckets), buckets));
        let insert = |address, row: &HeapRow| {
            levels.iter().any(|&(at, buckets)| {
                let bucket = bucket_of(address, buckets);
                let bucket = &image.rows::<HeapBucket>(at, buckets)[bucket];
                bucket.insert(address, row) == Inserted::Done
            })
        };
        let blocks = self
            .blocks
            .iter()
            .filter(|(address, row)| insert(*address, row));
        (levels[0].0, blocks.copied().collect())
    }

    fn write_descriptors(&self, image: &mut Image) -> usize {
        let first = image.add(Section::Fds, 0, FIRST_FDS);
        let second = image.add(Section::Fds, FIRST_FDS as u64, FDS - FIRST_FDS);
        let stamps = image.add(Section::FdStamps, 0, FDS / 2);
        for plan in &self.descriptors {
            let fd = plan.fd as usize;
            let row = match fd.checked_sub(FIRST_FDS) {
                None => &image.rows::<FdRow>(first, FIRST_FDS)[fd],
                Some(row) => &image.rows::<FdRow>(second, FDS - FIRST_FDS)[row],
            };
            row.insert(plan.fd, &plan.info);
            if plan.closed {
                row.remove(plan.fd);
            }
            if let Some(stamp) = image.rows::<AtomicU32>(stamps, FDS / 2).get(fd) {
                let used = plan.used_s.map_or(0, |second| second + 1);
                // A trapped descriptor keeps its stamp below that bit.
                let trapped = if fd.is_multiple_of(3) { TRAPPED } else { 0 };
                stamp.store(used | trapped, Ordering::Relaxed);
            }
        }
        first
    }

    fn write_bad_closes(&self, image: &mut Image) {
        let at = image.add(Section::BadCloses, 0, closes::ROWS);
        let rows = image.rows::<PlainRow>(at, closes::ROWS);
        for (row, close) in rows.iter().zip(&self.bad_closes) {
            closes::write(row, close);
        }
    }

    fn write_things(&self, image: &mut Image) -> Vec<ThingPlan> {
        let tables = THING_SECTIONS.map(|section| {
            let levels = THING_LEVELS.map(|rows| (image.add(section, 0, rows), rows));
            (section, levels)
        });
        let mut there = Vec::new();
        for plan in &self.things {
            let levels = tables.iter().find(|(section, _)| *section == plan.section);
            let windows = levels.unwrap().1.map(|(at, rows)| {
                let from = plain::window_of(plan.key, rows);
                &image.rows::<PlainRow>(at, rows)[from..from + plain::WINDOW]
            });
            let done = windows
                .iter()
                .any(|window| plain::insert(window, plan.key, &plan.row) == Inserted::Done);
            if done && plan.gone {
                let removed = windows.iter().find_map(|w| plain::remove(w, plan.key));
                assert_eq!(removed, Some(Some(plan.row)));
            } else if done {
                there.push(plan.clone());
            }
        }
        there
    }

    fn write_events(&self, image: &mut Image) {
        if self.events == 0 {
            return;
        }
        let at = image.add(Section::Ring, 0, EVENTS);
        let slots = image.rows::<RingSlot>(at, EVENTS);
        for id in 0..self.events as u64 {
            let what = Event::what(Action::Taken, Kind::Heap as u8, id);
            ring::push(
                &image.header().ring_head,
                slots,
                Event {
                    origin: id,
                    what,
                    id,
                },
            );
        }
    }
}

/// Lives that a site sees; gives the checkpoints they left.
fn live(plan: &SitePlan, site: &Site) -> Vec<[u64; 3]> {
    let amount = |bytes| Amount {
        bytes,
        est_256: 256,
        est_bytes: bytes,
    };
    let mut now_ms = 0;
    for bytes in &plan.births {
        site.born(amount(*bytes), now_ms);
        now_ms += 1000;
    }
    for (second, bytes) in plan.births.iter().enumerate().take(plan.deaths) {
        site.died(amount(*bytes), now_ms - second as u64 * 1000, now_ms);
    }
    let used = site.steps.load(Ordering::Relaxed) & 0xFFFF;
    let points = site.points.iter().take(used as usize);
    points
        .map(|point| {
            [&point.at_ms, &point.births, &point.deaths].map(|word| word.load(Ordering::Relaxed))
        })
        .collect()
}

fn enter(image: &Image, index: &[(usize, usize)], hash: u64, site: u32) {
    let entered = index.iter().any(|&(at, slots)| {
        let from = sites::window_of(hash, slots);
        let window = &image.rows::<AtomicU64>(at, slots)[from..from + WINDOW];
        match sites::look_up(window, hash) {
            Lookup::Found(_) => true,
            Lookup::Free(free) => sites::enter(window, free, hash, site).is_some(),
            Lookup::Full => false,
        }
    });
    assert!(entered, "the index is large enough for every plan");
}

fn write_module(module: &ModulePlan, row: &ModuleRow, string: u64) {
    let store = |word: &AtomicU64, value| word.store(value, Ordering::Relaxed);
    store(&row.bias, module.bias);
    store(&row.start, module.bias + 0x1000);
    store(&row.end, module.bias + 0x9000);
    store(&row.path, string << 16 | module.path.len() as u64);
    write_words(&row.build_id, &module.build_id);
    store(&row.build_id_bytes, module.build_id.len() as u64);
    store(&row.loads, 1);
    store(&row.loaded_ms, 5);
    store(&row.unloaded_ms, if module.loaded { 0 } else { 6 });
    row.state
        .store(if module.loaded { 1 } else { 2 }, Ordering::Release);
}

/// Bytes into words, little-endian; the rest stays zero.
fn write_words(words: &[AtomicU64], bytes: &[u8]) {
    assert!(bytes.len() <= words.len() * 8);
    for (word, part) in words.iter().zip(bytes.chunks(8)) {
        let mut value = [0; 8];
        value[..part.len()].copy_from_slice(part);
        word.store(u64::from_le_bytes(value), Ordering::Relaxed);
    }
}

/// The stack arena: two extents, no stack across their border.
struct Stacks {
    first: usize,
    second: usize,
    second_words: usize,
    used: usize,
}

impl Stacks {
    fn new(image: &mut Image, plan: &Plan) -> Stacks {
        let frames: usize = plan.sites.iter().map(|site| site.frames.len()).sum();
        let second_words = frames + 1;
        Stacks {
            first: image.add(Section::Stacks, 0, FIRST_STACKS),
            second: image.add(Section::Stacks, FIRST_STACKS as u64, second_words),
            second_words,
            used: 0,
        }
    }

    /// Index of the first word.
    fn store(&mut self, image: &Image, frames: &[u64]) -> u64 {
        if self.used < FIRST_STACKS && self.used + frames.len() > FIRST_STACKS {
            self.used = FIRST_STACKS;
        }
        let at = self.used;
        let words = match at.checked_sub(FIRST_STACKS) {
            None => &image.rows::<AtomicU64>(self.first, FIRST_STACKS)[at..],
            Some(row) => &image.rows::<AtomicU64>(self.second, self.second_words)[row..],
        };
        for (word, frame) in words.iter().zip(frames) {
            word.store(*frame, Ordering::Relaxed);
        }
        self.used += frames.len();
        at as u64
    }
}

impl Plan {
    /// A little of everything, growing with `n`.
    pub fn sample(n: usize) -> Plan {
        let text = |i: usize, what: &str| format!("/usr/lib/{what}-{i}.so");
        Plan {
            cmdline: vec!["server".into(), "--port=80".into()],
            executable: "/usr/bin/server".into(),
            settings: vec![("MEMGUARD_KEEP".into(), "always".into())],
            classes: vec![Class::All, Class::Bytes(512 << 10), Class::Rate(10_000_000)],
            modules: (0..n).map(|i| sample_module(text(i, "lib"))).collect(),
            sites: (0..n).map(sample_site).collect(),
            blocks: (1..=4 * n as u64).map(sample_block).collect(),
            descriptors: (0..n as u32).map(sample_descriptor).collect(),
            bad_closes: (0..n as u32).map(sample_bad_close).collect(),
            things: (1..=n as u32).map(sample_thing).collect(),
            events: n.saturating_sub(1),
        }
    }
}

fn sample_module(path: String) -> ModulePlan {
    ModulePlan {
        build_id: path.bytes().take(20).collect(),
        loaded: path.len().is_multiple_of(2),
        bias: (path.len() as u64) << 30,
        path,
    }
}

fn sample_site(i: usize) -> SitePlan {
    let frame = |depth: usize| match depth % 3 {
        0 => Frame::Native {
            module: (i % 7) as u16,
            offset: (depth * 64) as u64,
        },
        1 => Frame::Name(depth as u64),
        _ => Frame::Raw(0x7F00_0000_0000 + depth as u64),
    };
    SitePlan {
        kind: Kind::ALL[i % Kind::ALL.len()],
        frames: (0..i % 40).map(frame).collect(),
        births: (0..1 + i % 60).map(|n| 16 * n as u64).collect(),
        deaths: i % 30,
    }
}

fn sample_block(i: u64) -> (u64, HeapRow) {
    let row = HeapRow {
        origin: Origin {
            at_ms: i,
            site: 1 + (i % 3) as u32,
        },
        size_bytes: 100 * i,
        class: (i % 3) as u8,
        flags: (i % 8) as u16,
        thread: 1000 + i as u32,
    };
    (0x7F00_0000_0000 + i * 4096, row)
}

fn sample_thing(i: u32) -> ThingPlan {
    let section = THING_SECTIONS[i as usize % 4];
    let shared = section == Section::Registrations && i % 8 == 5;
    ThingPlan {
        section,
        key: plain::pair(1 + i % 3, i) | if shared { MARK } else { 0 },
        row: Plain {
            detail: u64::from(i) << 32 | 77,
            origin: Origin {
                at_ms: u64::from(i),
                site: 1,
            },
            used_ms: u64::from(i % 5),
            flags: (i % 2) as u8,
        },
        gone: i % 6 == 5,
    }
}

fn sample_descriptor(i: u32) -> DescriptorPlan {
    DescriptorPlan {
        fd: i % FDS as u32,
        info: FdInfo {
            origin: Origin {
                at_ms: u64::from(i),
                site: 1,
            },
            kind: Kind::File as u8 + (i % 20) as u8,
            flags: (i % 32) as u8,
            generation: 0,
            source: i.is_multiple_of(5).then_some(i),
        },
        closed: i % 4 == 3,
        used_s: i.is_multiple_of(2).then_some(i),
    }
}

fn sample_bad_close(i: u32) -> BadClose {
    let origin = |at_ms, site| Origin { at_ms, site };
    BadClose {
        fd: i,
        origin: origin(u64::from(i) * 10, 1),
        earlier: i.is_multiple_of(2).then(|| origin(u64::from(i) + 1, 2)),
        made_site: i % 3,
    }
}
