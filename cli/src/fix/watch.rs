//! Whether the program took harm: does it live, is it still itself, does it
//! spin?
//!
//! Load comes and goes, and a program that has more to do is not harmed. What
//! tells a spin is one thread that never rests: for seconds on end it is on a
//! CPU, or stands in line for one, and waits for nothing else.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::life::{Change, Life, is_alive};
use crate::kernel::{ProcDir, text, threads};
use procfs::FromRead;

/// Share of the time that a spinning thread wants a CPU.
const RESTLESS: f64 = 0.9;
/// One that wanted it so much before is at its usual work.
const BUSY_BEFORE: f64 = 0.8;
/// A thread that begins to wait more often than this each second does rest.
const RESTS_PER_S: f64 = 50.0;
/// What looks like a spin is looked at so often again,
const AGAIN: usize = 3;
/// each time after so long.
const BETWEEN: Duration = Duration::from_millis(700);

/// What each thread of a process asks of the CPUs, and its identity at a
/// moment. Time that it stood in line counts too: a spin on a full machine
/// gets little.
#[derive(Debug)]
pub struct Pulse {
    dir: ProcDir,
    at: Instant,
    asked: HashMap<i32, Asked>,
    /// Share of the time that each wanted a CPU before anything was done
    usual: HashMap<i32, f64>,
}

/// What goes wrong, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Harm {
    /// It is no more, or stands still
    Changed(Change),
    /// A thread of it wants far more CPU than before, and rests no more
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
            Self::Changed(change) => change.fmt(out),
            Self::Spins {
                percent,
                usual_percent,
            } => write!(
                out,
                "a thread spins: its CPU use rose from {usual_percent} % to {percent} % of a core, without a rest"
            ),
        }
    }
}

impl Pulse {
    /// Measures how busy it is for a while.
    #[must_use]
    pub fn take(pid: i32, during: Duration) -> Option<Self> {
        let dir = ProcDir::open(pid).ok()?;
        let mut pulse = Self {
            at: Instant::now(),
            asked: asked(&dir),
            usual: HashMap::new(),
            dir,
        };
        std::thread::sleep(during);
        let usual = pulse.passed().into_iter();
        pulse.usual = usual.map(|(tid, passed)| (tid, passed.share)).collect();
        is_alive(&pulse.dir).then_some(pulse)
    }

    /// Cores that it wanted while it was measured.
    #[must_use]
    pub fn usual(&self) -> f64 {
        self.usual.values().sum()
    }

    /// From now on it is looked at.
    pub fn begin(&mut self) {
        (self.at, self.asked) = (Instant::now(), asked(&self.dir));
    }

    /// What went wrong since the last time this was asked, if anything did.
    pub fn harm(&mut self, life: &Life) -> Option<Harm> {
        if let Some(change) = life.change() {
            return Some(Harm::Changed(change));
        }
        let mut spinning = self.restless();
        for _ in 0..AGAIN {
            if spinning.is_empty() {
                break;
            }
            std::thread::sleep(BETWEEN);
            let again = self.restless();
            spinning.retain(|tid, _| again.contains_key(tid));
        }
        if let Some(change) = life.end() {
            return Some(Harm::Changed(change));
        }
        let percent = |share: f64| (share * 100.0).round() as u32;
        let worst = spinning.iter().max_by(|a, b| a.1.total_cmp(b.1));
        worst.map(|(tid, share)| Harm::Spins {
            percent: percent(*share),
            usual_percent: percent(self.usual_of(*tid)),
        })
    }

    /// Threads that did not rest since this was last asked, though they did
    /// before, and their shares.
    fn restless(&mut self) -> HashMap<i32, f64> {
        let mut passed = self.passed();
        passed.retain(|tid, passed| passed.is_restless() && self.usual_of(*tid) < BUSY_BEFORE);
        let shares = passed.into_iter();
        shares.map(|(tid, passed)| (tid, passed.share)).collect()
    }

    fn usual_of(&self, tid: i32) -> f64 {
        self.usual.get(&tid).copied().unwrap_or(0.0)
    }

    /// Of each thread that was there then and is there now.
    fn passed(&mut self) -> HashMap<i32, Passed> {
        let (at, before) = (self.at, std::mem::take(&mut self.asked));
        self.begin();
        let elapsed_s = (self.at - at).as_secs_f64().max(0.01);
        let both = self.asked.iter();
        both.filter_map(|(tid, now)| Some((*tid, now.since(before.get(tid)?, elapsed_s))))
            .collect()
    }
}

/// What a thread has asked for since it began.
#[derive(Debug, Clone, Copy)]
struct Asked {
    cpu_ns: u64,
    waited_ns: u64,
    rests: u64,
}

/// What it did in a stretch of time.
#[derive(Debug, Clone, Copy)]
struct Passed {
    share: f64,
    rests_per_s: f64,
}

impl Asked {
    /// None when the thread has ended.
    fn of(dir: &ProcDir, tid: i32) -> Option<Self> {
        let (cpu_ns, waited_ns) = finely(dir, tid).or_else(|| coarsely(dir, tid))?;
        let status = dir.read(&format!("task/{tid}/status")).ok()?;
        let rests = text::field(&status, "voluntary_ctxt_switches:")?;
        Some(Self {
            cpu_ns,
            waited_ns,
            rests: rests.parse().ok()?,
        })
    }

    fn since(self, before: &Self, elapsed_s: f64) -> Passed {
        let asked_ns = (self.cpu_ns.saturating_sub(before.cpu_ns))
            .saturating_add(self.waited_ns.saturating_sub(before.waited_ns));
        Passed {
            share: asked_ns as f64 / 1e9 / elapsed_s,
            rests_per_s: self.rests.saturating_sub(before.rests) as f64 / elapsed_s,
        }
    }
}

impl Passed {
    fn is_restless(&self) -> bool {
        self.share >= RESTLESS && self.rests_per_s <= RESTS_PER_S
    }
}

/// On a CPU and in line for one; not every kernel tells.
fn finely(dir: &ProcDir, tid: i32) -> Option<(u64, u64)> {
    let times = dir.read(&format!("task/{tid}/schedstat")).ok()?;
    let mut times = text::words(&times).map(str::parse);
    Some((times.next()?.ok()?, times.next()?.ok()?))
}

/// On a CPU only, by ticks.
fn coarsely(dir: &ProcDir, tid: i32) -> Option<(u64, u64)> {
    let bytes = dir.read(&format!("task/{tid}/stat")).ok()?;
    let stat = procfs::process::Stat::from_read(&bytes[..]).ok()?;
    let ticks = stat.utime + stat.stime;
    Some((ticks * (1_000_000_000 / procfs::ticks_per_second()), 0))
}

fn asked(dir: &ProcDir) -> HashMap<i32, Asked> {
    let threads = threads::ids(dir).unwrap_or_default().into_iter();
    threads
        .filter_map(|tid| Some((tid, Asked::of(dir, tid)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::testing::shell;

    fn harm(pulse: &mut Pulse) -> Option<Harm> {
        let life = Life::of(pulse.dir.pid()).unwrap();
        pulse.harm(&life)
    }

    fn spins(pulse: &mut Pulse) -> bool {
        pulse.begin();
        std::thread::sleep(Duration::from_millis(300));
        matches!(harm(pulse), Some(Harm::Spins { .. }))
    }

    #[test]
    fn an_end_and_a_spin_are_noticed_and_sleep_is_not() {
        let mut child = shell("read line; while :; do :; done");
        let mut pulse = Pulse::take(child.id() as i32, Duration::from_millis(50)).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(harm(&mut pulse), None);
        let life = Life::of(child.id() as i32).unwrap();
        drop(child.stdin.take());
        assert!((0..20).any(|_| spins(&mut pulse)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(pulse.harm(&life), Some(Harm::Changed(Change::Ended)));
    }

    #[test]
    fn more_work_with_rests_is_no_spin_nor_is_what_was_so_before() {
        let mut worker = shell("read line; while :; do sleep 0.001; done");
        let mut pulse = Pulse::take(worker.id() as i32, Duration::from_millis(50)).unwrap();
        drop(worker.stdin.take());
        assert!(!(0..3).any(|_| spins(&mut pulse)));
        worker.kill().unwrap();
        worker.wait().unwrap();
        let mut busy = shell("while :; do :; done");
        let wanted = |pulse: &Pulse| pulse.usual_of(busy.id() as i32) >= BUSY_BEFORE;
        let take = || Pulse::take(busy.id() as i32, Duration::from_millis(300)).unwrap();
        let mut pulse = (0..100).map(|_| take()).find(wanted).unwrap();
        assert!(!spins(&mut pulse));
        busy.kill().unwrap();
        busy.wait().unwrap();
    }

    #[test]
    fn a_full_core_with_rests_is_work() {
        let passed = |share, rests_per_s| Passed { share, rests_per_s };
        assert!(passed(0.97, 0.0).is_restless());
        assert!(!passed(0.97, 400.0).is_restless());
        assert!(!passed(0.72, 0.0).is_restless());
    }
}
