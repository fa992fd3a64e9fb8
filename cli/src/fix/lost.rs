//! Whether a program may still know a descriptor's number: memory, registers
//! and what the kernel keeps for it are searched for it in every form that
//! programs keep numbers in.
//!
//! That nothing is found is evidence and no proof. What cannot be searched
//! counts as holding every number.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;

use crate::kernel::descriptors::Depth;
use crate::kernel::{Descriptors, Facts, ProcDir, blocked, maps, registers, threads, timers};
use crate::units::bytes;

/// Programs that may read a number from a script later.
const READERS: [&str; 22] = [
    "bash", "sh", "dash", "zsh", "ksh", "mksh", "fish", "busybox", "python", "pypy", "perl",
    "ruby", "node", "php", "lua", "luajit", "tclsh", "java", "gawk", "uwsgi", "guile", "deno",
];
/// The same as libraries in other programs.
const READING_LIBRARIES: [&str; 14] = [
    "libpython",
    "libpypy",
    "libnode",
    "libruby",
    "libjvm",
    "liblua",
    "libperl",
    "libtcl",
    "libphp",
    "libmozjs",
    "libv8",
    "libguile",
    "libcoreclr",
    "libmono",
];
/// Read at a time.
const CHUNK: usize = 1 << 20;
/// A form may begin before a chunk's end.
const OVERLAP: usize = 16;
const PAGE: u64 = 4096;

/// Whether a program of this name keeps numbers where no search finds them.
#[must_use]
pub fn reads_scripts(executable: &str) -> bool {
    let name = executable.rsplit('/').next().unwrap_or_default();
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    READERS.contains(&stem)
}

/// The same of what is mapped into a program; the first such file.
#[must_use]
pub fn reading_library(mappings: &[maps::Mapping]) -> Option<&str> {
    let reads = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        READING_LIBRARIES.iter().any(|one| name.starts_with(one))
    };
    let paths = mappings.iter().map(|map| map.path.as_str());
    paths
        .into_iter()
        .find(|path| reads(path) || reads_scripts(path))
}

/// What a search gave.
#[derive(Debug, Default)]
pub struct Search {
    /// Those of the numbers that are written anywhere
    pub known: BTreeSet<i32>,
    /// Why not everything was searched, in words
    pub missed: Option<String>,
    /// How much was
    pub searched_bytes: u64,
    /// How long it took
    pub took: Duration,
    /// The longest that any thread of the program stood still for it
    pub longest_stop: Duration,
}

impl Search {
    /// Whether nothing holds that number, as far as a search can tell.
    #[must_use]
    pub fn lost(&self, number: i32) -> bool {
        self.missed.is_none() && !self.known.contains(&number)
    }
}

/// Searches for all of them at once, for so long at most. `own` is memguard's
/// segment, which lists them all.
#[must_use]
pub fn search(
    dir: &ProcDir,
    numbers: &BTreeSet<i32>,
    own: Option<(u64, u64)>,
    within: Duration,
) -> Search {
    let begun = Instant::now();
    let (mut all, forms) = (Search::default(), Forms::of(numbers));
    let seen = registers::read(dir);
    for bytes in &seen.bytes {
        forms.search(bytes, &mut all.known);
    }
    (all.missed, all.longest_stop) = (seen.missed, seen.longest_stop);
    let rest = in_kernel(dir, &forms, &mut all).and_then(|()| {
        let memory = Memory::of(dir)?;
        memory.search(own, begun + within, &forms, &mut all)
    });
    if let Err(why) = rest {
        all.missed.get_or_insert(why);
    }
    all.took = begun.elapsed();
    all
}

/// The program's own words that the kernel gives back with an event.
fn in_kernel(dir: &ProcDir, forms: &Forms, all: &mut Search) -> Result<(), String> {
    let unread = |_| "what its epolls and timers hold cannot be read".to_owned();
    for timer in timers::read(dir).map_err(unread)? {
        forms.search(&timer.value.to_ne_bytes(), &mut all.known);
    }
    for open in Descriptors::read(dir, Depth::Facts).map_err(unread)?.open {
        if let Facts::Epoll(entries) = &open.facts {
            for entry in entries {
                forms.search(&entry.data.to_ne_bytes(), &mut all.known);
            }
        }
    }
    Ok(())
}

/// A process's memory and its list of it.
struct Memory {
    bytes: OwnedFd,
    present: OwnedFd,
    mappings: Vec<maps::Mapping>,
}

impl Memory {
    fn of(dir: &ProcDir) -> Result<Self, String> {
        let refused = "the kernel does not let this user read its memory; run memguard as root";
        let pagemap = dir.open_file("pagemap", rustix::fs::OFlags::RDONLY);
        let mappings = maps::read(dir).map_err(|_| refused)?;
        // The files opened here are those of the main thread.
        if threads::first_living(dir).is_some() {
            return Err("its memory cannot be seen, as its main thread has ended".to_owned());
        }
        Ok(Self {
            bytes: blocked::memory(dir).ok_or(refused)?,
            present: pagemap.map_err(|_| refused)?,
            mappings,
        })
    }

    fn search(
        &self,
        own: Option<(u64, u64)>,
        until: Instant,
        forms: &Forms,
        all: &mut Search,
    ) -> Result<(), String> {
        let mut left = Vec::new();
        let mut ours_end = 0;
        for map in self.mappings.iter().filter(|map| map.readable) {
            let ours = own == Some((map.device, map.inode))
                || map.path.ends_with("/libmemguard.so")
                // Its zeroed data.
                || map.inode == 0 && map.start == ours_end;
            if ours {
                ours_end = map.end;
            } else if map.writable || !map.shared {
                left.extend(filled(&self.present, map).ok_or("its page map cannot be read")?);
            }
        }
        let total: u64 = left.iter().map(|(start, end)| end - start).sum();
        for (start, end) in left {
            if !in_range(&self.bytes, (start, end), until, forms, all) {
                let (done, all) = (bytes(all.searched_bytes), bytes(total));
                return Err(match Instant::now() < until {
                    true => "memory changed while it was read".to_owned(),
                    false => format!("only {done} of {all} could be searched in time"),
                });
            }
        }
        Ok(())
    }
}

/// Pages of the mapping that hold something: others are zero, or as in the
/// file. Of shared memory another process may have filled any; what may not be
/// written now may have been before.
fn filled(pagemap: &OwnedFd, map: &maps::Mapping) -> Option<Vec<(u64, u64)>> {
    if map.shared {
        return Some(vec![(map.start, map.end)]);
    }
    const PRESENT_OR_SWAPPED: u64 = 3 << 62;
    const OF_A_FILE: u64 = 1 << 61;
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut entries = vec![0; 64 << 10];
    let mut at = map.start;
    while at < map.end {
        let wanted = (((map.end - at) / PAGE) as usize * 8).min(entries.len());
        let got = rustix::io::pread(pagemap, &mut entries[..wanted], at / PAGE * 8).ok()?;
        if got < 8 {
            return None;
        }
        for entry in entries[..got].chunks_exact(8) {
            let word = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
            let unwritten = !map.writable && word & OF_A_FILE != 0;
            if word & PRESENT_OR_SWAPPED != 0 && !unwritten {
                match ranges.last_mut().filter(|(_, end)| *end == at) {
                    Some((_, end)) => *end = at + PAGE,
                    None => ranges.push((at, at + PAGE)),
                }
            }
            at += PAGE;
        }
    }
    Some(ranges)
}

/// False when time is over, or something is not there any more.
fn in_range(
    memory: &OwnedFd,
    (start, end): (u64, u64),
    until: Instant,
    forms: &Forms,
    all: &mut Search,
) -> bool {
    let mut bytes = vec![0; CHUNK + OVERLAP];
    let mut at = start;
    while at < end && Instant::now() < until {
        let wanted = bytes.len().min((end - at) as usize);
        let mut got = 0;
        while got < wanted {
            match rustix::io::pread(memory, &mut bytes[got..wanted], at + got as u64) {
                Ok(0) | Err(_) => return false,
                Ok(n) => got += n,
            }
        }
        forms.search(&bytes[..wanted], &mut all.known);
        all.searched_bytes += wanted.min(CHUNK) as u64;
        at += CHUNK as u64;
    }
    at >= end
}

/// The numbers in all their forms.
struct Forms {
    numbers: BTreeSet<i32>,
    /// 32-bit words at any address, by what they may mean
    words: BTreeMap<u32, Vec<i32>>,
    /// A quick no for words
    hint: Vec<u64>,
    most_digits: usize,
}

/// Bits of the quick no; words are told apart by a product's high bits.
const HINT_BITS: u32 = 20;

impl Forms {
    fn of(numbers: &BTreeSet<i32>) -> Self {
        let mut words: BTreeMap<u32, Vec<i32>> = BTreeMap::new();
        for n in numbers.iter().copied() {
            let plain = n as u32;
            let forms = [
                plain,
                plain.wrapping_mul(2),
                plain.wrapping_mul(2).wrapping_add(1),
                plain.wrapping_mul(4),
                plain.wrapping_mul(16).wrapping_add(15),
                (n as f32).to_bits(),
                (f64::from(n).to_bits() >> 32) as u32,
            ];
            for form in forms {
                words.entry(form).or_default().push(n);
            }
        }
        let mut hint = vec![0; 1 << (HINT_BITS - 6)];
        for word in words.keys() {
            let bit = hint_bit(*word);
            hint[bit >> 6] |= 1 << (bit & 63);
        }
        let longest = numbers.last().map_or(1, |n| n.to_string().len());
        Self {
            numbers: numbers.clone(),
            words,
            hint,
            most_digits: longest,
        }
    }

    fn search(&self, bytes: &[u8], found: &mut BTreeSet<i32>) {
        for window in bytes.windows(4) {
            let word = u32::from_le_bytes([window[0], window[1], window[2], window[3]]);
            let bit = hint_bit(word);
            if self.hint[bit >> 6] >> (bit & 63) & 1 != 0 {
                found.extend(self.words.get(&word).into_iter().flatten());
            }
        }
        for half in bytes.chunks_exact(2) {
            self.take(u16::from_le_bytes([half[0], half[1]]).into(), found);
        }
        self.decimal(bytes, found);
    }

    fn take(&self, value: i64, found: &mut BTreeSet<i32>) {
        let number = i32::try_from(value).ok();
        found.extend(number.filter(|number| self.numbers.contains(number)));
    }

    /// Runs of digits; at a chunk's edge what is there of one.
    fn decimal(&self, bytes: &[u8], found: &mut BTreeSet<i32>) {
        let mut runs = bytes.split(|byte| !byte.is_ascii_digit());
        let mut value = |run: &[u8]| {
            let text = std::str::from_utf8(run).ok()?;
            self.take(text.parse().ok()?, found);
            Some(())
        };
        for run in runs.by_ref().filter(|run| !run.is_empty()) {
            let zeros = run.iter().take_while(|digit| **digit == b'0').count();
            if run.len() - zeros <= self.most_digits {
                value(run);
            }
        }
    }
}

fn hint_bit(word: u32) -> usize {
    (word.wrapping_mul(0x9E37_79B1) >> (32 - HINT_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::Running;

    fn found(bytes: &[u8], number: i32) -> bool {
        let mut found = BTreeSet::new();
        Forms::of(&BTreeSet::from([number])).search(bytes, &mut found);
        found.contains(&number)
    }

    #[test]
    fn every_form_is_seen_and_noise_is_not() {
        let n = 90_123;
        let word = |value: u32| value.to_le_bytes().to_vec();
        let forms = [
            word(n as u32),
            [vec![7], word(n as u32)].concat(),
            word(2 * n as u32),
            word(2 * n as u32 + 1),
            word(4 * n as u32),
            word(16 * n as u32 + 15),
            f64::from(n).to_le_bytes().to_vec(),
            (n as f32).to_le_bytes().to_vec(),
            b"fd=90123,".to_vec(),
        ];
        for form in forms {
            let padded = [vec![0; 3], form.clone(), vec![0xff; 3]].concat();
            assert!(found(&padded, n), "{form:?}");
        }
        assert!(found(&[0, 0, 0x39, 0x30], 12_345), "16 bits");
        assert!(!found(&[0; 4096], n) && !found(b"901234", n) && !found(&[0xff; 64], n));
    }

    /// Writes on purpose where the search must look, in a program that sleeps.
    /// Its numbers are odd: the low half of an aligned address can look like
    /// an even one, where chance puts the program there.
    const C: &str = "
        #include <fcntl.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/resource.h>
        #include <unistd.h>
        int *kept;
        static void __attribute__((noinline)) open_all(int n) {
            for (int i = 0; i < n; i++) {
                int fd = fcntl(open(\"/etc/passwd\", O_RDONLY), F_DUPFD, 3001 + 10 * i);
                close(fd == -1 ? 99 : 3);
                if (i % 2) kept[i] = fd;
            }
        }
        int main(void) {
            struct rlimit most;
            getrlimit(RLIMIT_NOFILE, &most);
            most.rlim_cur = most.rlim_max;
            setrlimit(RLIMIT_NOFILE, &most);
            kept = calloc(100, sizeof(int));
            open_all(100);
            char wipe[8192];
            for (int i = 0; i < 8192; i++) ((volatile char *)wipe)[i] = 0;
            write(1, \"\\n\", 1);
            pause();
        }";

    #[test]
    fn lost_numbers_are_told_from_kept_ones_in_a_real_program() {
        let folder = tempfile::tempdir().unwrap();
        let (source, program) = (folder.path().join("p.c"), folder.path().join("p"));
        std::fs::write(&source, C).unwrap();
        let built = std::process::Command::new("gcc")
            .args(["-O1", "-w", "-o"])
            .arg(&program)
            .arg(&source)
            .status();
        assert!(built.unwrap().success());
        let mut command = std::process::Command::new(&program);
        let child = Running::start(command.stdout(std::process::Stdio::null()));
        let dir = child.dir();
        let all: BTreeSet<i32> = (0..100).map(|i| 3001 + 10 * i).collect();
        let open = |fd: &i32| dir.link(&format!("fd/{fd}")).is_ok();
        let waits = || {
            dir.read("syscall")
                .is_ok_and(|line| line.starts_with(b"34 "))
        };
        crate::kernel::testing::wait_for(|| (waits() && all.iter().all(open)).then_some(()));
        let known = search(&dir, &all, None, Duration::from_secs(60));
        assert_eq!(known.missed, None);
        assert!(known.searched_bytes > 0);
        let known = known.known;
        let (kept, lost): (Vec<i32>, Vec<i32>) = all.iter().partition(|fd| *fd / 10 % 2 == 1);
        assert!(kept.iter().all(|fd| known.contains(fd)), "{known:?}");
        let seen_lost = lost.iter().filter(|fd| !known.contains(fd)).count();
        assert!(seen_lost >= 40, "{seen_lost} of 50; known: {known:?}");
    }

    #[test]
    fn what_is_not_searched_may_hold_everything() {
        let mut command = std::process::Command::new("sh");
        let child = Running::start(command.args(["-c", "while :; do :; done"]));
        let some = BTreeSet::from([1_900_000_007]);
        let dir = child.dir();
        // Of a busy machine a thread may not stop in time: then nothing is lost either.
        let within = |time| search(&dir, &some, None, time);
        let seen = || within(Duration::from_secs(60)).lost(1_900_000_007);
        crate::kernel::testing::wait_for(|| seen().then_some(()));
        let hasty = || {
            let hasty = within(Duration::ZERO);
            assert!(!hasty.lost(1_900_000_007), "{hasty:?}");
            hasty.missed.filter(|why| why.contains("in time"))
        };
        crate::kernel::testing::wait_for(hasty);
        drop(child);
        assert!(!search(&dir, &some, None, Duration::from_secs(60)).lost(1_900_000_007));
    }

    #[test]
    fn shells_and_interpreters_are_known_by_name() {
        for name in [
            "/usr/bin/bash",
            "python3.11",
            "/bin/dash",
            "node",
            "perl5.36.0",
        ] {
            assert!(reads_scripts(name), "{name}");
        }
        assert!(!reads_scripts("/usr/sbin/nginx") && !reads_scripts("shopd"));
    }
}
