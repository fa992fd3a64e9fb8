//! Whether the program took harm: does it live, is it still itself, does it
//! spin?

use std::time::{Duration, Instant};

use crate::kernel::{ProcDir, threads};
use procfs::FromRead;

/// A rise of CPU use by more than this share of one core counts as a spin.
const SPIN: f64 = 0.5;

/// What a process asks of the CPUs, and its identity at a moment. Time that
/// it stood in line counts too: a spin on a full machine gets little.
#[derive(Debug)]
pub struct Pulse {
    dir: ProcDir,
    at: Instant,
    asked: Asked,
    /// Share of one core before anything was done
    usual: f64,
}

/// What goes wrong, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Harm {
    /// It ended
    Ended,
    /// It uses far more CPU than before
    Spins {
        /// Per cent of one core now
        percent: u32,
        /// And before
        usual_percent: u32,
    },
}

impl std::fmt::Display for Harm {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended => write!(out, "the process ended"),
            Self::Spins {
                percent,
                usual_percent,
            } => write!(
                out,
                "its CPU use rose from {usual_percent} % to {percent} % of a core"
            ),
        }
    }
}

impl Pulse {
    /// Measures how busy it is for a while.
    #[must_use]
    pub fn take(pid: i32, during: Duration) -> Option<Self> {
        let dir = ProcDir::open(pid).ok()?;
        let (at, before) = (Instant::now(), Asked::now(&dir)?);
        std::thread::sleep(during);
        let asked = Asked::now(&dir)?;
        let usual = share(asked.since(before), at.elapsed());
        Some(Self {
            dir,
            at: Instant::now(),
            asked,
            usual,
        })
    }

    /// Share of one core that it used while it was measured.
    #[must_use]
    pub fn usual(&self) -> f64 {
        self.usual
    }

    /// From now on it is looked at.
    pub fn begin(&mut self) {
        if let Some(now) = Asked::now(&self.dir) {
            (self.at, self.asked) = (Instant::now(), now);
        }
    }

    /// What went wrong since the last time this was asked, if anything did.
    pub fn harm(&mut self) -> Option<Harm> {
        let Some(now) = Asked::now(&self.dir) else {
            return Some(Harm::Ended);
        };
        let busy = share(now.since(self.asked), self.at.elapsed());
        (self.at, self.asked) = (Instant::now(), now);
        let percent = |share: f64| (share * 100.0).round() as u32;
        (busy > self.usual * 1.2 + SPIN).then(|| Harm::Spins {
            percent: percent(busy),
            usual_percent: percent(self.usual),
        })
    }
}

fn share(cpu: Duration, elapsed: Duration) -> f64 {
    cpu.as_secs_f64() / elapsed.as_secs_f64().max(0.01)
}

/// Time on a CPU, and time that was waited for one.
#[derive(Debug, Clone, Copy)]
struct Asked {
    cpu: Duration,
    waited: Duration,
}

impl Asked {
    /// None when it has ended.
    fn now(dir: &ProcDir) -> Option<Self> {
        let threads = threads::ids(dir).unwrap_or_default();
        Some(Self {
            cpu: cpu(dir)?,
            waited: threads.into_iter().filter_map(|tid| waited(dir, tid)).sum(),
        })
    }

    /// Threads that have ended take what they waited with them.
    fn since(self, before: Self) -> Duration {
        self.cpu.saturating_sub(before.cpu) + self.waited.saturating_sub(before.waited)
    }
}

/// The second number of schedstat, in nanoseconds; not every kernel has it.
fn waited(dir: &ProcDir, tid: i32) -> Option<Duration> {
    let text = dir.read(&format!("task/{tid}/schedstat")).ok()?;
    let ns = std::str::from_utf8(&text).ok()?.split_whitespace().nth(1)?;
    Some(Duration::from_nanos(ns.parse().ok()?))
}

/// User and system time of all its threads; none for a zombie.
fn cpu(dir: &ProcDir) -> Option<Duration> {
    let bytes = dir.read("stat").ok()?;
    let stat = procfs::process::Stat::from_read(&bytes[..]).ok()?;
    let ended = matches!(stat.state, 'Z' | 'X') && stat.num_threads <= 1;
    let ticks = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
    (!ended).then(|| Duration::from_secs_f64(ticks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn an_end_and_a_spin_are_noticed_and_sleep_is_not() {
        let mut child = Command::new("sh")
            .args(["-c", "read line; while :; do :; done"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pulse = Pulse::take(child.id() as i32, Duration::from_millis(50)).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(pulse.harm(), None);
        drop(child.stdin.take());
        let spins = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(300));
            matches!(pulse.harm(), Some(Harm::Spins { .. }))
        });
        assert!(spins);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(pulse.harm(), Some(Harm::Ended));
    }
}
