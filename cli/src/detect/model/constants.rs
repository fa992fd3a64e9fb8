//! Every number that a verdict depends on, each with its reason.
//!
//! The formulas and their sources stand in docs/DETECTION.md, and so does the
//! simulation that they were settled by. Whoever changes a number here runs
//! `scripts/simulate` again and commits its table with the change.

use std::time::Duration;

/// Old begins at this many times the age that 99 of 100 reach at most.
/// Keep-alive timeouts stretch the tail of a healthy site by about as much.
pub const TIMES_Q99: f64 = 4.0;
/// And at this many times the longest life ever completed: the next record
/// of a healthy site is seldom half as long again as the last one.
pub const TIMES_LONGEST: f64 = 1.5;
/// And never before this, for sockets: common idle timeouts are 60 to 75 s.
pub const SOCKET_FLOOR: Duration = Duration::from_secs(120);
/// Nor before this for everything else: start-up and batches take seconds.
pub const FLOOR: Duration = Duration::from_secs(30);

/// An observation must last this many times the age that counts as old, so
/// that at least two such ages lie before the youngest old thing.
pub const LONG_ENOUGH: u64 = 3;
/// Lives that must have been completed before "closing stopped" means
/// anything.
pub const FEWEST_LIVES: u64 = 20;
/// And the share of all births that they must be: below it a site hardly
/// ever gives back, which is what growing caches look like.
pub const LEAST_FREED: f64 = 0.1;
/// Old survivors that must have come lately, at as many moments; two may be an
/// accident.
pub const FEWEST_RECENT: u64 = 3;
/// What comes within this part of the floor on ages came at one moment: a
/// pool that grows by ten, or one failure that loses ten, is one event, and a
/// `leak` needs enough of those. Counted one by one, 92 of 100 simulated
/// programs that fill up in a few stages were called leaks.
pub const MOMENTS_A_FLOOR: u64 = 10;
/// A site that made nothing for so many times as long as it was at work is
/// done: a start-up of minutes, a finished batch. A night is less for
/// whatever works by day.
pub const TIMES_STILL: u64 = 10;
/// And for no less than this, so that a short trial may be looked at in peace.
pub const STILL_FLOOR: Duration = Duration::from_secs(600);

/// Q1: closing counts as stopped only when it fell below this share of the
/// rate at which things of some age were still closed before.
pub const HAZARD_SHARE: f64 = 0.25;
/// And that rate is taken this many standard deviations lower than seen.
pub const HAZARD_SLACK: f64 = 2.0;
/// Q2: survivors count as still coming unless they came at less than this
/// share of their earlier rate. What warms up and stops leaves next to none;
/// at a quarter, half of the simulated 10 % leaks took 140 s instead of 93 s
/// to be found, and nothing healthy was told apart any better.
pub const COMING_SHARE: f64 = 0.15;
/// And against no less than this many expected, where none came earlier.
pub const COMING_LEAST: f64 = 0.5;
/// Q3: among healthy old things this share may look unused by chance.
pub const IDLE_SHARE: f64 = 0.2;
/// Unused since about its birth: for this share of its age.
pub const IDLE_SINCE_BIRTH: f64 = 0.9;
/// Or for this many times the longest pause after which one of its site was
/// ever used again.
pub const TIMES_WOKEN: f64 = 4.0;
/// Uses are stamped in whole seconds, so a use right after the birth may
/// read as one this much later.
pub const STAMP_STEP: Duration = Duration::from_secs(2);

/// The share of wrong verdicts that is accepted among the verdicts of a kind
/// (Benjamini and Hochberg), and the error of one question.
pub const FALSE_SHARE: f64 = 0.01;
/// A look counts when the observation has grown by this factor since the last
/// one that did.
pub const LOOK_GROWTH: f64 = 1.5;
/// What a look found growing is still said while the later looks, each by
/// itself, leave it this chance. Without, one of ten simulated leaks of some 25
/// samples, looked at seven times, was `held` again at the last look; now one
/// of forty.
pub const CONFIRMED: f64 = 0.05;
/// An earlier run's plateau, exceeded by less than this, explains a growth.
pub const PLATEAU_SLACK: f64 = 1.25;
/// Where only samples are counted, by this many standard deviations of the
/// difference of two such counts more: a full cache is sampled anew each run.
pub const PLATEAU_NOISE: f64 = 2.0;

/// Statistics are never sure.
pub const SUREST: f64 = 0.99;
/// Growth without anything to compare with.
pub const SUREST_GROWING: f64 = 0.75;
/// Growth of which one question could not be asked.
pub const SUREST_SUSPECT: f64 = 0.5;

/// How long a program had to react to its peer's end of stream before a
/// socket in CLOSE_WAIT is proof: longer than any sensible answer takes.
pub const CLOSE_WAIT_FLOOR: Duration = Duration::from_secs(600);
/// And the number of such sockets that a site must have.
pub const CLOSE_WAIT_FEWEST: usize = 3;
