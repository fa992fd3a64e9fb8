//! What is done from outside to many objects, one batch after the other: first
//! the log, then each of them.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::time::{Itimerspec, Timespec, timerfd_gettime};

use super::means::{Means, settle_with};
use super::outside::{self, Untouched, is_off};
use super::pace::{Line, Pace, Turns};
use super::{ends, retire, stale, watches};
use crate::model::{Fix, FixItem, FixOutcome};

/// So many are written down together: each writing waits for the disk.
const WRITTEN_AT_ONCE: usize = 1024;
/// Timers whose duplicates are held, and whose settings may grow old, between
/// the log and their stop.
const TIMERS_AT_ONCE: usize = 64;

impl Means {
    /// Does what these ask for, at the rate and for as long as the process is
    /// what it was and the log is kept; their outcome where that is known at
    /// once. Which ones it came to.
    pub fn act(&self, items: &mut [FixItem], which: &[usize], pace: &mut Pace<'_>) -> Vec<usize> {
        let stops = |at: &usize| items[*at].action == Fix::Disarm;
        let (timers, others): (Vec<usize>, Vec<usize>) = which.iter().partition(|at| stops(at));
        let mut turns = pace.turns();
        for batch in others.chunks(pace.at_once(WRITTEN_AT_ONCE)) {
            if pace.is_broken() || turns.are_over() {
                break;
            }
            match pace.keep_all(items, batch) {
                true => self.act_on(items, batch, &mut turns),
                false => end_as(items, batch, FixOutcome::NotLogged),
            }
        }
        for batch in timers.chunks(pace.at_once(TIMERS_AT_ONCE)) {
            if !pace.is_broken() && turns.take_all(batch) {
                self.disarm(items, batch, pace);
            }
        }
        turns.taken()
    }

    fn act_on(&self, items: &mut [FixItem], batch: &[usize], turns: &mut Turns<'_>) {
        let mut by_action: HashMap<Fix, Vec<usize>> = HashMap::new();
        for at in batch {
            by_action.entry(items[*at].action).or_default().push(*at);
        }
        let mut of = |action| by_action.remove(&action).unwrap_or_default();
        let (sockets, files) = (of(Fix::Eof), of(Fix::Retire));
        let (watched, stale) = (of(Fix::WatchDel), of(Fix::EpollDel));
        let others: Vec<usize> = by_action.into_values().flatten().collect();
        if turns.take_all(&others) {
            end_as(items, &others, FixOutcome::Refused);
        }
        ends::show(self, items, &sockets, turns);
        if turns.take_all(&files) {
            retire::retire(self, items, &files);
        }
        if turns.take_all(&watched) {
            watches::remove(&self.hold, &self.dir, items, &watched);
        }
        stale::remove(&self.hold, &self.dir, &self.numbers, items, &stale, turns);
    }

    /// Stops timerfds: what each is set to goes into the log before any is
    /// stopped.
    fn disarm(&self, items: &mut [FixItem], batch: &[usize], pace: &mut Pace<'_>) {
        let mut set = Vec::new();
        for at in batch {
            match self.running(&items[*at]) {
                Ok((timer, before)) => set.push((*at, timer, before)),
                Err(why) => settle_with(&mut items[*at], Err(why)),
            }
        }
        if !set.is_empty() && !pace.keep(&lines(items, &set)) {
            let which: Vec<usize> = set.iter().map(|(at, ..)| *at).collect();
            return end_as(items, &which, FixOutcome::NotLogged);
        }
        set.retain_mut(|(at, timer, before)| match stop(timer) {
            Ok((outcome, was)) => {
                items[*at].outcome = Some(outcome);
                let is_anew = outcome == FixOutcome::Disarmed && is_set_anew(before, &was);
                *before = was;
                is_anew
            }
            Err(why) => {
                settle_with(&mut items[*at], Err(why));
                false
            }
        });
        if !set.is_empty() {
            pace.keep(&lines(items, &set));
        }
    }

    /// The timer, held, and what it is set to.
    fn running(&self, item: &FixItem) -> Result<(OwnedFd, Itimerspec), Untouched> {
        let copy = self.hold.object(item)?;
        // All timerfds share an inode: only the library's row tells them apart.
        let known = self.insider.as_ref().map(|one| one.inside());
        if known.is_some_and(|inside| !inside.is_still(item)) {
            return Err(Untouched::Vanished);
        }
        let before = timerfd_gettime(&copy)?;
        // Somebody may have stopped it since the plan was made.
        match is_off(&before) {
            true => Err(Untouched::Vanished),
            false => Ok((copy, before)),
        }
    }
}

/// Takes the same outcome down for each of these.
pub(super) fn end_as(items: &mut [FixItem], which: &[usize], outcome: FixOutcome) {
    which
        .iter()
        .for_each(|at| items[*at].outcome = Some(outcome));
}

fn lines<'a>(items: &'a [FixItem], set: &'a [(usize, OwnedFd, Itimerspec)]) -> Vec<Line<'a>> {
    let line = |(at, _, before): &'a (usize, OwnedFd, Itimerspec)| Line {
        at: *at,
        item: &items[*at],
        timer: Some(before),
    };
    set.iter().map(line).collect()
}

/// What came of it, and what it was set to.
fn stop(timer: &OwnedFd) -> Result<(FixOutcome, Itimerspec), Untouched> {
    let before = outside::disarm(timer.as_fd())?;
    let now = timerfd_gettime(timer)?;
    let outcome = match (is_off(&before), is_off(&now)) {
        // Somebody was faster, or it has just run out.
        (true, _) => FixOutcome::Vanished,
        (false, true) => FixOutcome::Disarmed,
        (false, false) => FixOutcome::Failed,
    };
    Ok((outcome, before))
}

/// Whether somebody has set it after it was asked: a countdown only falls, or
/// begins its period again.
fn is_set_anew(before: &Itimerspec, was: &Itimerspec) -> bool {
    let span = |time: Timespec| (time.tv_sec, time.tv_nsec);
    let (first, period) = (span(before.it_value), span(before.it_interval));
    span(was.it_interval) != period || span(was.it_value) > first.max(period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::testing::{HOUR, armed, item};
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream};

    fn means() -> Means {
        Means::of(std::process::id() as i32, None).unwrap()
    }

    fn act(items: &mut [FixItem], record: crate::fix::pace::Record<'_>) {
        let all: Vec<usize> = (0..items.len()).collect();
        let life = crate::fix::life::Life::of(std::process::id() as i32).unwrap();
        let mut pace = Pace::new(&life, None, record);
        assert_eq!(means().act(items, &all, &mut pace).len(), items.len());
    }

    #[test]
    fn each_is_in_the_log_before_it_is_touched() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ours: Vec<TcpStream> = (0..100)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let is_shown_its_end = |mut socket: &TcpStream| {
            socket.set_nonblocking(true).unwrap();
            match socket.read(&mut [0]) {
                Ok(got) => got == 0,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    false
                }
            }
        };
        let mut items: Vec<FixItem> = ours.iter().map(|one| item(one, Fix::Eof)).collect();
        // The listener stands for what no gate should have let through.
        items.push(item(&listener, Fix::Eof));
        let mut kept = 0;
        act(&mut items, &mut |lines| {
            for line in lines {
                assert!(ours.get(line.at).is_none_or(|one| !is_shown_its_end(one)));
                kept += 1;
            }
            true
        });
        assert_eq!(kept, 101);
        assert!(ours.iter().all(is_shown_its_end));
        // Nobody has closed them.
        assert!(items[..100].iter().all(|item| item.outcome.is_none()));
        assert_eq!(items[100].outcome, Some(FixOutcome::Refused));
    }

    #[test]
    fn without_a_line_in_the_log_no_end_is_shown_and_nothing_more_is_begun() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let timer = armed(HOUR);
        let mut items = vec![item(&ours, Fix::Eof), item(&timer, Fix::Disarm)];
        let life = crate::fix::life::Life::of(std::process::id() as i32).unwrap();
        let mut record = |_: &[Line<'_>]| false;
        let mut pace = Pace::new(&life, None, &mut record);
        assert!(means().act(&mut items, &[0, 1], &mut pace).is_empty());
        assert_eq!(items[0].outcome, Some(FixOutcome::NotLogged));
        assert_eq!(items[1].outcome, None, "it did not come to that");
        ours.set_nonblocking(true).unwrap();
        let read = (&ours).read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(read, Err(ErrorKind::WouldBlock), "it is as it was");
        assert!(!is_off(&timerfd_gettime(&timer).unwrap()));
    }

    #[test]
    fn a_timer_is_stopped_only_once_its_setting_is_kept() {
        let timers = [armed(HOUR), armed(HOUR)];
        let items = || -> Vec<FixItem> {
            let stops = |timer| item(timer, Fix::Disarm);
            timers.iter().map(stops).collect()
        };
        let runs = |timer: &OwnedFd| !is_off(&timerfd_gettime(timer).unwrap());
        let mut refused = items();
        act(&mut refused, &mut |_| false);
        assert!(timers.iter().all(runs));
        let is = |wanted| move |item: &FixItem| item.outcome == Some(wanted);
        assert!(refused.iter().all(is(FixOutcome::NotLogged)));
        let mut stopped = items();
        let mut settings = 0;
        act(&mut stopped, &mut |lines| {
            assert!(timers.iter().all(runs));
            let has_setting = |line: &&Line<'_>| line.timer.is_some_and(|set| !is_off(set));
            settings += lines.iter().filter(has_setting).count();
            true
        });
        assert_eq!(settings, 2);
        assert!(!timers.iter().any(runs));
        assert!(stopped.iter().all(is(FixOutcome::Disarmed)));
    }

    #[test]
    fn a_timer_that_somebody_else_stops_in_between_is_not_counted_as_stopped_here() {
        let timer = armed(HOUR);
        let mut items = [item(&timer, Fix::Disarm)];
        let mut lines = Vec::new();
        act(&mut items, &mut |kept| {
            lines.extend(kept.iter().map(|line| line.item.outcome));
            outside::disarm(timer.as_fd()).unwrap();
            true
        });
        assert_eq!(items[0].outcome, Some(FixOutcome::Vanished));
        assert_eq!(lines, [None], "nothing but that it was tried");
    }

    #[test]
    fn what_is_set_after_it_was_asked_is_noticed() {
        let set = |value, interval| {
            let seconds = |tv_sec| Timespec { tv_sec, tv_nsec: 0 };
            Itimerspec {
                it_interval: seconds(interval),
                it_value: seconds(value),
            }
        };
        assert!(!is_set_anew(&set(5, 9), &set(4, 9)), "it counts down");
        assert!(!is_set_anew(&set(1, 9), &set(9, 9)), "and begins again");
        assert!(is_set_anew(&set(5, 9), &set(5, 8)));
        assert!(is_set_anew(&set(5, 0), &set(6, 0)));
    }
}
