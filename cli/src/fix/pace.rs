//! How fast a plan is carried out, and the log that goes ahead of it: nothing
//! is touched before a line on it is kept. Lines of many go together, since
//! each writing waits for the disk.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rustix::time::Itimerspec;

use super::life::Life;
use crate::model::FixItem;

/// Between two looks at whether the process is still what it was.
const BEAT: Duration = Duration::from_millis(20);

/// What is to be kept of one item.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its place in the plan
    pub at: usize,
    /// The item; without an outcome when it is about to be touched
    pub item: &'a FixItem,
    /// What a timer was set to
    pub timer: Option<&'a Itimerspec>,
}

/// Keeps lines, all or none. Says whether they are kept: nothing is done
/// without.
pub type Record<'a> = &'a mut dyn FnMut(&[Line<'_>]) -> bool;

/// How fast, for as long as the process is what it was, and who keeps account.
pub struct Pace<'a> {
    life: &'a Life,
    per_second: Option<u32>,
    record: Record<'a>,
    logging: Duration,
    begun: HashSet<usize>,
    is_broken: bool,
    run: String,
}

impl<'a> Pace<'a> {
    /// So many items a second, or as fast as it goes.
    #[must_use]
    pub fn new(life: &'a Life, per_second: Option<u32>, record: Record<'a>) -> Self {
        Self {
            life,
            per_second,
            record,
            logging: Duration::ZERO,
            begun: HashSet::new(),
            is_broken: false,
            run: String::new(),
        }
    }

    /// The same, whose lines go by this name.
    #[must_use]
    pub fn of_run(self, run: &str) -> Self {
        Self {
            run: run.to_owned(),
            ..self
        }
    }

    /// The name that its lines go by.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Keeps lines. Where they are not kept, nothing more is to be begun.
    pub fn keep(&mut self, lines: &[Line<'_>]) -> bool {
        if lines.is_empty() {
            return true;
        }
        let begun = Instant::now();
        let kept = (self.record)(lines);
        self.logging += begun.elapsed();
        if kept {
            let first = lines.iter().filter(|line| line.item.outcome.is_none());
            self.begun.extend(first.map(|line| line.at));
        }
        self.is_broken |= !kept;
        kept
    }

    /// Whether something could not be kept: then nothing more is touched.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Those of these that were written down before they were touched: only
    /// they have an end to be written down.
    #[must_use]
    pub fn begun(&self, which: &[usize]) -> Vec<usize> {
        let is_begun = |at: &&usize| self.begun.contains(at);
        which.iter().filter(is_begun).copied().collect()
    }

    /// Keeps how these stand.
    pub fn keep_all(&mut self, items: &[FixItem], which: &[usize]) -> bool {
        let line = |at: &usize| Line {
            at: *at,
            item: &items[*at],
            timer: None,
        };
        self.keep(&which.iter().map(line).collect::<Vec<_>>())
    }

    /// How long the keeping took since this was last asked.
    pub fn logged(&mut self) -> Duration {
        std::mem::take(&mut self.logging)
    }

    /// So many at once, but no more than come in a tenth of a second.
    #[must_use]
    pub fn at_once(&self, most: usize) -> usize {
        let share = self
            .per_second
            .map_or(usize::MAX, |rate| rate as usize / 10);
        share.clamp(1, most)
    }

    /// As many as come in two seconds: then what is to be touched is asked
    /// about once more.
    #[must_use]
    pub fn for_a_while(&self) -> usize {
        let share = self.per_second.map_or(usize::MAX, |rate| 2 * rate as usize);
        share.max(1)
    }

    /// The turns of a stretch that begins now.
    #[must_use]
    pub fn turns(&self) -> Turns<'a> {
        Turns {
            life: self.life,
            begun: Instant::now(),
            looked: None,
            is_over: false,
            per_second: self.per_second,
            taken: Vec::new(),
        }
    }
}

/// Whose turn it is: item `n` is not touched before its time, and none any more
/// once the process is not what it was.
#[derive(Debug)]
pub struct Turns<'a> {
    life: &'a Life,
    begun: Instant,
    looked: Option<Instant>,
    is_over: bool,
    per_second: Option<u32>,
    taken: Vec<usize>,
}

impl<'a> Turns<'a> {
    /// Waits for the turn of one. Whether it may be touched.
    #[must_use]
    pub fn take(&mut self, at: usize) -> bool {
        self.take_all(&[at])
    }

    /// Waits for the turn of the first of some that go together.
    #[must_use]
    pub fn take_all(&mut self, some: &[usize]) -> bool {
        if let Some(rate) = self.per_second.filter(|rate| *rate > 0) {
            let due = Duration::from_secs_f64(self.taken.len() as f64 / f64::from(rate));
            std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
        }
        if self.looked.is_none_or(|looked| looked.elapsed() > BEAT) {
            self.is_over |= self.life.change().is_some();
            self.looked = Some(Instant::now());
        }
        if !self.is_over {
            self.taken.extend(some);
        }
        !self.is_over
    }

    /// Whether the process is not what it was: then nobody's turn comes any
    /// more, and nothing is to be written down.
    pub fn are_over(&mut self) -> bool {
        self.is_over |= self.life.change().is_some();
        self.is_over
    }

    /// The process.
    #[must_use]
    pub fn life(&self) -> &'a Life {
        self.life
    }

    /// Whose turn has come.
    #[must_use]
    pub fn taken(self) -> Vec<usize> {
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fix, FixOutcome, Kind};

    #[test]
    fn lines_go_together_and_never_more_than_the_rate_allows() {
        let mut kept = Vec::new();
        let mut record = |lines: &[Line<'_>]| {
            kept.push(lines.iter().map(|line| line.at).collect::<Vec<_>>());
            true
        };
        let life = Life::of(std::process::id() as i32).unwrap();
        let mut pace = Pace::new(&life, Some(200), &mut record);
        assert_eq!((pace.at_once(1000), pace.at_once(16)), (20, 16));
        let item = || FixItem::new("sockets-1", Kind::Sockets, Fix::Eof, String::new());
        assert!(pace.keep_all(&[item(), item(), item()], &[2, 0]));
        assert_eq!(pace.begun(&[0, 1, 2]), [0, 2]);
        let refused = FixItem {
            outcome: Some(FixOutcome::Refused),
            ..item()
        };
        assert!(pace.keep_all(&[refused], &[0]));
        assert_eq!(kept, [vec![2, 0], vec![0]]);
        let mut record = |_: &[Line<'_>]| false;
        let mut slow = Pace::new(&life, Some(3), &mut record);
        assert_eq!(slow.at_once(1000), 1);
        assert!(!slow.keep_all(&[item()], &[0]));
        assert!(slow.begun(&[0]).is_empty() && slow.is_broken());
        assert_eq!(Pace::new(&life, None, &mut record).at_once(99), 99);
    }

    #[test]
    fn nobody_comes_before_his_turn() {
        let mut record = |_: &[Line<'_>]| true;
        let life = Life::of(std::process::id() as i32).unwrap();
        let mut turns = Pace::new(&life, Some(100), &mut record).turns();
        let begun = Instant::now();
        assert!(turns.take_all(&[5, 6, 7]) && turns.take(8));
        assert!(begun.elapsed() >= Duration::from_millis(30));
        assert!(turns.take(2));
        assert!(begun.elapsed() >= Duration::from_millis(40));
        assert_eq!(turns.taken(), [5, 6, 7, 8, 2]);
    }

    #[test]
    fn nobody_comes_once_the_process_has_ended() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let life = Life::of(child.id() as i32).unwrap();
        let mut record = |_: &[Line<'_>]| true;
        let mut turns = Pace::new(&life, None, &mut record).turns();
        assert!(turns.take(0));
        child.kill().unwrap();
        child.wait().unwrap();
        std::thread::sleep(2 * BEAT);
        assert!(!turns.take_all(&[1, 2]) && !turns.take(3));
        assert_eq!(turns.taken(), [0]);
    }
}
