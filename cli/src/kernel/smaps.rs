//! What is resident of each mapping: `/proc/PID/smaps`, proc_pid_smaps(5).
//!
//! The kernel walks the page tables for it, so it is read once, and not to the
//! end where a process has very many mappings: the rest is then known only in
//! sum, by `smaps_rollup`.

use super::maps::{self, Mapping};
use super::{KernelError, ProcDir, text};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{BufRead, BufReader};

/// Mappings that are looked at one by one.
pub const MOST_MAPPINGS: usize = 20_000;

/// Lines are short but for a path, and no path is longer than this.
const LINE_CAP_BYTES: usize = 16 << 10;

/// One mapping, and what of it is in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Where it is and what it maps.
    pub mapping: Mapping,
    /// Its pages in memory, in bytes.
    pub rss_bytes: u64,
    /// Of those, the ones that no file stands behind.
    pub anonymous_bytes: u64,
    /// Its pages in swap space, in bytes.
    pub swap_bytes: u64,
    /// Without huge pages or swap reservation: as MAP_STACK gives it.
    pub like_stack: bool,
}

/// The mappings of a process, or the first of them.
#[derive(Clone, Debug, Default)]
pub struct Smaps {
    /// By address.
    pub mappings: Vec<Resident>,
    /// Whether these are all.
    pub complete: bool,
}

/// The sums over all mappings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rollup {
    /// In memory, in bytes.
    pub rss_bytes: u64,
    /// Of those, the ones that no file stands behind.
    pub anonymous_bytes: u64,
    /// In swap space, in bytes.
    pub swap_bytes: u64,
    /// In memory, but given up already: taken when memory is short.
    pub lazy_free_bytes: u64,
}

/// Reads at most [`MOST_MAPPINGS`].
pub fn read(dir: &ProcDir) -> Result<Smaps, KernelError> {
    let file = dir.open_file("smaps", OFlags::RDONLY)?;
    let mut lines = BufReader::with_capacity(64 << 10, File::from(file));
    let (mut smaps, mut line) = (Smaps::default(), Vec::new());
    loop {
        let read = next_line(&mut lines, &mut line);
        match read.map_err(|error| unreadable(dir, &error))? {
            0 => break,
            _ if !smaps.add(&line) => return Ok(smaps),
            _ => {}
        }
    }
    smaps.complete = true;
    Ok(smaps)
}

/// Reads the sums.
pub fn rollup(dir: &ProcDir) -> Result<Rollup, KernelError> {
    let sums = dir.read("smaps_rollup")?;
    let sum = |name| text::field(&sums, name).and_then(kibibytes);
    let rss = sum("Rss:").ok_or_else(|| no_rss(dir))?;
    Ok(Rollup {
        rss_bytes: rss,
        anonymous_bytes: sum("Anonymous:").unwrap_or(0),
        swap_bytes: sum("Swap:").unwrap_or(0),
        lazy_free_bytes: sum("LazyFree:").unwrap_or(0),
    })
}

impl Smaps {
    /// Takes in a line; false when there are too many mappings.
    fn add(&mut self, line: &[u8]) -> bool {
        if let Some(mapping) = maps::parse(line) {
            let room = self.mappings.len() < MOST_MAPPINGS;
            if room {
                self.mappings.push(Resident::of(mapping));
            }
            return room;
        }
        if let Some(last) = self.mappings.last_mut() {
            last.add(line);
        }
        true
    }
}

impl Resident {
    fn of(mapping: Mapping) -> Self {
        Self {
            mapping,
            rss_bytes: 0,
            anonymous_bytes: 0,
            swap_bytes: 0,
            like_stack: false,
        }
    }

    /// `Rss:                 132 kB`
    fn add(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            return;
        };
        let (name, rest) = line.split_at(colon);
        let figure = || kibibytes(std::str::from_utf8(&rest[1..]).ok()?).or(Some(0));
        match name {
            b"Rss" => self.rss_bytes = figure().unwrap_or(0),
            b"Anonymous" => self.anonymous_bytes = figure().unwrap_or(0),
            b"Swap" => self.swap_bytes = figure().unwrap_or(0),
            b"VmFlags" => {
                self.like_stack = text::words(&rest[1..]).any(|flag| flag == "nr" || flag == "nh");
            }
            _ => {}
        }
    }
}

/// `132 kB`
fn kibibytes(figure: &str) -> Option<u64> {
    let number = figure.trim().strip_suffix("kB")?.trim_end();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

/// One line without its end; what is too long of it is left out.
fn next_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<usize> {
    line.clear();
    let mut taken = 0;
    loop {
        let chunk = match lines.fill_buf() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        let room = LINE_CAP_BYTES.saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(end.is_some());
        taken += used;
        lines.consume(used);
        if end.is_some() || used == 0 {
            return Ok(taken);
        }
    }
}

fn unreadable(dir: &ProcDir, error: &std::io::Error) -> KernelError {
    match rustix::io::Errno::from_io_error(error) {
        Some(errno) => dir.error("smaps", errno),
        None => KernelError::malformed(dir.pid(), "smaps", error),
    }
}

fn no_rss(dir: &ProcDir) -> KernelError {
    KernelError::malformed(dir.pid(), "smaps_rollup", "no Rss line")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: &str = "7f0000000000-7f0000021000 rw-p 00000000 00:00 0 \n\
        Size:                132 kB\nRss:                  12 kB\nAnonymous:             8 kB\n\
        Swap:                  4 kB\nVmFlags: rd wr mr mw me ac nr sd \n";

    fn taken(text: &str) -> Smaps {
        let mut smaps = Smaps::default();
        for line in text.lines() {
            smaps.add(line.as_bytes());
        }
        smaps
    }

    #[test]
    fn an_entry_gives_its_figures() {
        let smaps = taken(ONE);
        let one = &smaps.mappings[0];
        assert_eq!(
            (
                smaps.mappings.len(),
                one.rss_bytes,
                one.anonymous_bytes,
                one.swap_bytes
            ),
            (1, 12 << 10, 8 << 10, 4 << 10)
        );
        assert!(one.like_stack && one.mapping.bytes() == 0x21000);
    }

    #[test]
    fn the_sum_is_the_kernels() {
        let dir = ProcDir::open(std::process::id() as i32).expect("ourselves");
        // Other threads of the tests allocate meanwhile.
        let close = |a: u64, b: u64| a.abs_diff(b) < 64 << 20;
        let (smaps, rollup) = (read(&dir).expect("ours"), rollup(&dir).expect("ours"));
        let sum: u64 = smaps.mappings.iter().map(|one| one.rss_bytes).sum();
        assert!(smaps.complete && sum > 0);
        assert!(close(sum, rollup.rss_bytes), "{sum} {rollup:?}");
    }

    #[test]
    fn no_more_than_so_many_are_taken() {
        let smaps = taken(&ONE.repeat(MOST_MAPPINGS + 5));
        assert_eq!(smaps.mappings.len(), MOST_MAPPINGS);
        assert!(!Smaps::default().complete);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let long = vec![b'x'; 3 * LINE_CAP_BYTES];
        let mut lines = BufReader::with_capacity(100, &long[..]);
        let mut line = Vec::new();
        assert_eq!(next_line(&mut lines, &mut line).unwrap(), long.len());
        assert_eq!(line.len(), LINE_CAP_BYTES);
        assert_eq!(next_line(&mut lines, &mut line).unwrap(), 0);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "([0-9a-f]{1,6}-[0-9a-f]{1,6} rw-p|Rss:|VmFlags:|[ 0-9a-zA-Z:]{0,20}|kB|\n){0,40}") {
            let _ = taken(&text);
        }
    }
}
