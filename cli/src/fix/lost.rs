//! Whether a program may still know a descriptor's number: writable memory and
//! the arguments of waiting threads are searched for it in every form that
//! programs keep numbers in.
//!
//! That nothing is found is evidence and no proof. From outside, the registers
//! that a function keeps across a call are not seen: whoever closes must look
//! at those from inside. What cannot be read counts as holding everything.

use std::collections::{BTreeMap, BTreeSet};

use rustix::fd::OwnedFd;

use crate::kernel::{ProcDir, blocked, maps, text, threads};

/// Programs that may read a number from a script later.
const READERS: [&str; 18] = [
    "bash", "sh", "dash", "zsh", "ksh", "mksh", "fish", "busybox", "python", "pypy", "perl",
    "ruby", "node", "php", "lua", "tclsh", "java", "gawk",
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

/// Those of the numbers that are written anywhere; all of them when something
/// could not be read. `own` is memguard's segment, which lists them all.
#[must_use]
pub fn known(dir: &ProcDir, numbers: &BTreeSet<i32>, own: Option<(u64, u64)>) -> BTreeSet<i32> {
    search(dir, numbers, own).unwrap_or_else(|| numbers.clone())
}

fn search(
    dir: &ProcDir,
    numbers: &BTreeSet<i32>,
    own: Option<(u64, u64)>,
) -> Option<BTreeSet<i32>> {
    let forms = Forms::of(numbers);
    let mut found = in_arguments(dir, numbers)?;
    let memory = blocked::memory(dir)?;
    let present = dir.open_file("pagemap", rustix::fs::OFlags::RDONLY).ok()?;
    let mappings = maps::read(dir).ok()?;
    let searched = mappings.iter().filter(|map| {
        map.writable
            && map.readable
            && own != Some((map.device, map.inode))
            && !map.path.ends_with("/libmemguard.so")
    });
    for map in searched {
        for (start, end) in filled(&present, map)? {
            in_range(&memory, start, end, &forms, &mut found)?;
        }
    }
    Some(found)
}

/// What threads wait with. One that runs has its registers nowhere.
fn in_arguments(dir: &ProcDir, numbers: &BTreeSet<i32>) -> Option<BTreeSet<i32>> {
    let mut found = BTreeSet::new();
    for tid in threads::ids(dir).ok()? {
        let line = dir.read(&format!("task/{tid}/syscall")).ok()?;
        let words: Vec<&str> = text::words(&line).collect();
        let (_, arguments) = words.split_first()?;
        if words[0] == "running" {
            return None;
        }
        for word in arguments {
            let value = text::hex(word.trim_start_matches("0x"))?;
            found.extend(
                i32::try_from(value as u32)
                    .ok()
                    .filter(|n| numbers.contains(n)),
            );
        }
    }
    Some(found)
}

/// Pages of the mapping that hold something: others are zero, or as in the
/// file. Of shared memory another process may have filled any.
fn filled(pagemap: &OwnedFd, map: &maps::Mapping) -> Option<Vec<(u64, u64)>> {
    if map.shared {
        return Some(vec![(map.start, map.end)]);
    }
    const PRESENT_OR_SWAPPED: u64 = 3 << 62;
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
            if word & PRESENT_OR_SWAPPED != 0 {
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

fn in_range(
    memory: &OwnedFd,
    start: u64,
    end: u64,
    forms: &Forms,
    found: &mut BTreeSet<i32>,
) -> Option<()> {
    let mut bytes = vec![0; CHUNK + OVERLAP];
    let mut at = start;
    while at < end {
        let wanted = bytes.len().min((end - at) as usize);
        let mut got = 0;
        while got < wanted {
            match rustix::io::pread(memory, &mut bytes[got..wanted], at + got as u64) {
                Ok(0) | Err(_) => return None,
                Ok(n) => got += n,
            }
        }
        forms.search(&bytes[..wanted], found);
        at += CHUNK as u64;
    }
    Some(())
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
        let known = known(&dir, &all, None);
        let (kept, lost): (Vec<i32>, Vec<i32>) = all.iter().partition(|fd| *fd / 10 % 2 == 1);
        assert!(kept.iter().all(|fd| known.contains(fd)), "{known:?}");
        let seen_lost = lost.iter().filter(|fd| !known.contains(fd)).count();
        assert!(seen_lost >= 40, "{seen_lost} of 50; known: {known:?}");
    }

    #[test]
    fn a_running_thread_may_hold_everything() {
        let mut command = std::process::Command::new("sh");
        let child = Running::start(command.args(["-c", "while :; do :; done"]));
        let some = BTreeSet::from([50_000]);
        let running = (0..200).any(|_| known(&child.dir(), &some, None) == some);
        assert!(running);
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
