//! Shows owners the end of their connections, a few at a time: a loop that is
//! told of thousands at once has no time for those who ask it something.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::life::Life;
use super::means::{Means, settle_with};
use super::outside::{self, Untouched};
use super::pace::Turns;
use super::unix;
use crate::model::{FixItem, FixOutcome};

/// Ends that a loop is told of before it is waited for. It closes one in some
/// 20 us, so whoever asks it meanwhile waits a millisecond for it at most.
const AT_ONCE: usize = 32;
/// Between two looks at whether it has closed them.
const BEAT: Duration = Duration::from_micros(100);
/// So long after the last one that it closed, it is not waited for any more.
const PATIENCE: Duration = Duration::from_millis(5);
/// So many times in a row that it closed none: then it takes no notice.
const SILENT: usize = 3;

/// Shows these ends. Those that the owner closes meanwhile are settled.
pub fn show(means: &Means, items: &mut [FixItem], which: &[usize], turns: &mut Turns<'_>) {
    let mut silent = 0;
    for some in which.chunks(AT_ONCE) {
        for at in some {
            if !turns.take(*at) {
                return;
            }
            let shown = show_end(means, &items[*at]);
            settle_with(&mut items[*at], shown);
        }
        if silent < SILENT {
            silent = match is_followed(means, items, some, turns.life()) {
                true => 0,
                false => silent + 1,
            };
        }
    }
}

/// The owner decides; what became of it is seen later.
fn show_end(means: &Means, item: &FixItem) -> Result<Option<FixOutcome>, Untouched> {
    let copy = means.hold.object(item)?;
    if outside::listens(&copy) || !unix::has_an_end(&copy) {
        return Ok(Some(FixOutcome::Refused));
    }
    match outside::end_of_file(copy.as_fd()) {
        // Its peer has reset the connection meanwhile: the end is there.
        Err(Untouched::Kernel(Errno::NOTCONN)) => Ok(None),
        other => other.map(|()| None),
    }
}

/// Waits for as long as the owner goes on closing these. Whether it closed
/// any, or had none to close.
fn is_followed(means: &Means, items: &mut [FixItem], some: &[usize], life: &Life) -> bool {
    let mut left: Vec<usize> = some.to_vec();
    left.retain(|at| items[*at].outcome.is_none());
    let shown = left.len();
    let mut moved = Instant::now();
    while !left.is_empty() && moved.elapsed() < PATIENCE {
        let before = left.len();
        means.settle(items, &mut left, life);
        if left.len() < before {
            moved = Instant::now();
        }
        if !left.is_empty() {
            std::thread::sleep(BEAT);
        }
    }
    shown == 0 || left.len() < shown
}
