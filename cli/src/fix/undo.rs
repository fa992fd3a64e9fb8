//! Sets stopped timers back to what they were, and parked files back to their
//! numbers.

use rustix::fd::AsFd;
use rustix::time::{Itimerspec, Timespec, timerfd_gettime};

use super::inside::Inside;
use super::life::Life;
use super::outside::{self, Hold, Untouched};
use crate::kernel::{ProcDir, process::start_ticks};
use crate::model::{Fix, FixItem, FixOutcome};
use crate::state::audit::{Action, Setting};

/// A timer's setting in nanoseconds.
#[must_use]
pub fn setting(of: &Itimerspec) -> Setting {
    let ns = |time: Timespec| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000) + u64::try_from(time.tv_nsec).unwrap_or(0)
    };
    Setting {
        next_ns: ns(of.it_value),
        interval_ns: ns(of.it_interval),
    }
}

/// As the kernel wants it. One that had run out runs out at once.
fn itimer(setting: Setting) -> Itimerspec {
    let time = |ns: u64| Timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: (ns % 1_000_000_000) as _,
    };
    Itimerspec {
        it_value: time(setting.next_ns.max(1)),
        it_interval: time(setting.interval_ns),
    }
}

const UNKNOWN: &str = "what it was set to is not known";

/// The process whose timers and files are set back, and the way into it.
#[derive(Debug)]
pub struct Ground {
    hold: Hold,
    life: Life,
    inside: Result<Option<Inside>, String>,
}

impl Ground {
    /// Of the process that was acted on, if it still runs.
    ///
    /// # Errors
    /// It has ended, in words.
    pub fn of(action: &Action) -> Result<Self, String> {
        const GONE: &str = "the process has ended";
        let hold = Hold::of(action.pid).map_err(|_| GONE.to_owned())?;
        let life = Life::of(action.pid).ok_or(GONE)?;
        // First held, then known to be the one: what is held stays it.
        let start = ProcDir::open(action.pid).and_then(|dir| start_ticks(&dir));
        if start.ok() != Some(action.start_ticks) {
            return Err(GONE.to_owned());
        }
        let inside = Inside::of(action.pid).map_err(|why| why.to_string());
        Ok(Self { hold, life, inside })
    }

    /// Whether the program stands still: then nothing is tried.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.life.stop().is_some()
    }

    /// The way in, if the program can come by.
    fn moving(&self) -> Result<Option<&Inside>, String> {
        match self.life.change() {
            Some(change) => Err(change.to_string()),
            None => self.inside(),
        }
    }

    fn inside(&self) -> Result<Option<&Inside>, String> {
        self.inside
            .as_ref()
            .map(Option::as_ref)
            .map_err(Clone::clone)
    }

    /// Sets one back, if it is the same object, and nobody has set it since.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn restore(&self, action: &Action) -> Result<(), String> {
        if action.action == Fix::Retire {
            let inside = self.moving()?.ok_or("the library takes no commands")?;
            return super::retire::give_back(inside, action);
        }
        let timer = itimer(action.timer.ok_or(UNKNOWN)?);
        match action.posix_timer {
            Some(id) => self.by_the_target(action, id, &timer),
            None => self.by_duplicate(action, &timer),
        }
    }

    fn by_duplicate(&self, action: &Action, to: &Itimerspec) -> Result<(), String> {
        let fd = action.fd.ok_or(UNKNOWN)?;
        // First held, then known to be the one: what is held stays it.
        let copy = self.hold.duplicate(fd).map_err(|why| why.to_string())?;
        if !self.is_same(action) {
            return Err("its number is closed or names another object".to_owned());
        }
        let now = timerfd_gettime(&copy).map_err(|_| "it is no timer any more".to_owned())?;
        if setting(&now).next_ns != 0 {
            return Err("it runs: somebody has set it since".to_owned());
        }
        outside::rearm(copy.as_fd(), to).map_err(|why| why.to_string())
    }

    /// Timers share an inode; the library knows when each was created.
    fn is_same(&self, action: &Action) -> bool {
        let known = self.inside().ok().flatten();
        let item = item_of(action);
        item.born_ms.is_some() && known.is_some_and(|inside| inside.is_still(&item))
    }

    /// A POSIX timer is nobody's but the process's own.
    fn by_the_target(&self, action: &Action, id: u32, to: &Itimerspec) -> Result<(), String> {
        let inside = self.moving()?;
        let inside = inside.ok_or("memguard's library is not in it any more")?;
        match inside.restore_timer(id, action.born_ms, to) {
            Ok(FixOutcome::Restored) => Ok(()),
            Ok(FixOutcome::Pending) => {
                Err("the program came by no hook, so nothing was done; try again".to_owned())
            }
            Ok(_) => Err("it runs: somebody has set it since".to_owned()),
            Err(Untouched::Vanished) => Err("it was deleted, or another has its number".to_owned()),
            Err(why) => Err(why.to_string()),
        }
    }
}

/// What was acted on, as an item again.
#[must_use]
pub fn item_of(action: &Action) -> FixItem {
    FixItem {
        fd: action.fd,
        object: action.object,
        born_ms: action.born_ms,
        ..FixItem::new(
            &action.finding,
            action.kind,
            action.action,
            action.what.clone(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_comes_back_as_it_was() {
        let set = Setting {
            next_ns: 1_500_000_000,
            interval_ns: 10_000_000,
        };
        assert_eq!(setting(&itimer(set)), set);
        let run_out = Setting { next_ns: 0, ..set };
        assert_eq!(setting(&itimer(run_out)).next_ns, 1);
    }
}
