//! Pages of an idle process to swap, from outside: process_madvise(2). Without
//! swap there is nothing to gain, and the plan says so.

#![allow(unsafe_code, reason = "process_madvise(2) has no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::gate;
use crate::fix::watch::Pulse;
use crate::kernel::{Mapping, ProcDir, Rollup, cgroup, maps};
use crate::model::{FixCache, FixGate, FixMeans};
use crate::units::bytes;

/// Ranges that one call takes (IOV_MAX).
const AT_ONCE: usize = 1024;
/// A process that uses more of a core than this would read its pages at once.
const IDLE: f64 = 0.01;
/// So long it is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// The plan for it.
pub fn plan(dir: &ProcDir, rollup: &Rollup) -> FixCache {
    let mut gates = vec![swap(dir)];
    if gates[0].open {
        gates.push(idle(dir.pid()));
    }
    FixCache {
        size_bytes: Some(rollup.anonymous_bytes),
        gates,
        ..FixCache::new(FixMeans::PageOut, "the kernel: unused pages to swap")
    }
}

fn swap(dir: &ProcDir) -> FixGate {
    if cgroup::forbids_swap(dir) {
        return gate(
            "swap",
            false,
            "its control group may use no swap: nothing to gain".to_owned(),
        );
    }
    match free_swap() {
        None | Some(0) => gate("swap", false, "no swap: nothing to gain".to_owned()),
        Some(free) => gate("swap", true, format!("{} of swap are free", bytes(free))),
    }
}

/// Bytes of swap that are left on this machine.
fn free_swap() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/swaps").ok()?;
    text.lines().skip(1).map(free_in).sum()
}

/// `Filename Type Size Used Priority`, in KiB.
fn free_in(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace().skip(2);
    let (size, used): (u64, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(size.saturating_sub(used) * 1024)
}

fn idle(pid: i32) -> FixGate {
    let usual = Pulse::take(pid, LOOK).map(|pulse| pulse.usual());
    let fact = usual.map_or("it has ended".to_owned(), |share| {
        format!("it uses {:.1} % of a core", share * 100.0)
    });
    gate("idle", usual.is_some_and(|share| share <= IDLE), fact)
}

/// Asks the kernel to write the process's own pages to swap.
///
/// # Errors
/// The kernel's: most often a missing right (CAP_SYS_NICE).
pub fn page_out(pid: i32) -> io::Result<()> {
    let dir = ProcDir::open(pid).map_err(io::Error::other)?;
    let mappings = maps::read(&dir).map_err(io::Error::other)?;
    let own: Vec<&Mapping> = mappings.iter().filter(|map| is_own(map)).collect();
    advise(pid, &own)
}

/// Private and writable: nobody else has these pages.
fn is_own(map: &Mapping) -> bool {
    map.writable && !map.shared
}

fn advise(pid: i32, mappings: &[&Mapping]) -> io::Result<()> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    for part in mappings.chunks(AT_ONCE) {
        let ranges: Vec<libc::iovec> = part.iter().map(|map| range(map)).collect();
        advise_ranges(rustix::fd::AsFd::as_fd(&process), &ranges)?;
    }
    Ok(())
}

fn range(map: &Mapping) -> libc::iovec {
    libc::iovec {
        iov_base: map.start as *mut libc::c_void,
        iov_len: map.bytes() as usize,
    }
}

fn advise_ranges(process: BorrowedFd<'_>, ranges: &[libc::iovec]) -> io::Result<()> {
    // SAFETY: process_madvise(2): the ranges are the other process's addresses,
    // which this one never follows, and the list of them is ours.
    let done = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            process.as_raw_fd(),
            ranges.as_ptr(),
            ranges.len(),
            libc::MADV_PAGEOUT,
            0,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::smaps;

    #[test]
    fn a_line_of_swaps_says_what_is_free() {
        assert_eq!(free_in("/dev/sda2 partition 1000 400 -2"), Some(600 << 10));
        assert_eq!(free_in("nonsense"), None);
    }

    /// Anonymous pages stay without swap; pages of a file that is mapped do go.
    #[test]
    fn the_kernel_takes_pages_out() {
        let mut file = tempfile::NamedTempFile::new_in(".").unwrap();
        let bytes = 8 << 20;
        io::Write::write_all(&mut file, &vec![7; bytes]).unwrap();
        file.as_file().sync_all().unwrap();
        let script = format!(
            "import mmap, sys; f = open({:?}, 'r+b'); m = mmap.mmap(f.fileno(), 0); s = sum(m[::4096]); \
             print(flush=True); sys.stdin.read()",
            file.path()
        );
        let mut child = std::process::Command::new("/usr/bin/python3")
            .args(["-c", &script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let dir = ProcDir::open(child.id() as i32).unwrap();
        let name = file.path().file_name().unwrap().to_owned();
        let of_file = || {
            let all = smaps::read(&dir).unwrap().mappings;
            let found = all
                .into_iter()
                .find(|one| std::path::Path::new(&one.mapping.path).file_name() == Some(&name));
            found.unwrap()
        };
        let before = of_file();
        assert!(before.rss_bytes >= bytes as u64, "{before:?}");
        let advised = advise(child.id() as i32, &[&before.mapping]);
        let begun = std::time::Instant::now();
        while of_file().rss_bytes > before.rss_bytes / 2
            && begun.elapsed() < Duration::from_secs(20)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        let after = of_file();
        child.kill().unwrap();
        child.wait().unwrap();
        advised.unwrap();
        assert!(
            after.rss_bytes <= before.rss_bytes / 2,
            "{before:?} {after:?}"
        );
    }
}
