//! What a long run is doing: one line on standard error that overwrites
//! itself, where that is a terminal, from the third second on.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What is over sooner needs no progress.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at how far it is.
const BEAT: Duration = Duration::from_millis(250);
/// To the start of the line, and the rest of it away.
const CLEAR: &str = "\r\u{1b}[K";

/// Shows how far something is, until dropped.
#[derive(Debug)]
pub struct Progress {
    shared: Option<Arc<Shared>>,
    shows: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stage: Mutex<Stage>,
    over: Condvar,
}

#[derive(Debug, Clone, Copy)]
struct Stage {
    what: &'static str,
    done: usize,
    total: usize,
    over: bool,
}

impl Progress {
    /// Of what takes so many steps; 0 when nobody knows.
    #[must_use]
    pub fn of(what: &'static str, total: usize) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self {
                shared: None,
                shows: None,
            };
        }
        let stage = Stage {
            what,
            done: 0,
            total,
            over: false,
        };
        let shared = Arc::new(Shared {
            stage: Mutex::new(stage),
            over: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let show = move || show(&theirs, Instant::now());
        // A machine that is out of threads shows nothing.
        let shows = std::thread::Builder::new().spawn(show).ok();
        Self {
            shared: Some(shared),
            shows,
        }
    }

    /// So many steps are done.
    pub fn done(&self, done: usize) {
        if let Some(shared) = &self.shared {
            shared.lock().done = done;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.lock().over = true;
            shared.over.notify_all();
        }
        // One that panicked has shown less, and harmed nothing.
        let _ = self.shows.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for so long; none when it is over.
    fn wait(&self, long: Duration) -> Option<Stage> {
        let waits = self
            .over
            .wait_timeout_while(self.lock(), long, |stage| !stage.over);
        let (stage, _) = waits.unwrap_or_else(PoisonError::into_inner);
        (!stage.over).then_some(*stage)
    }
}

/// Progress that cannot be shown is no failure.
fn show(shared: &Shared, begun: Instant) {
    let mut screen = std::io::stderr();
    let mut next = shared.wait(PATIENCE);
    let shown = next.is_some();
    while let Some(stage) = next {
        let _ = write!(screen, "{CLEAR}{}", line(stage, begun.elapsed()));
        let _ = screen.flush();
        next = shared.wait(BEAT);
    }
    if shown {
        let _ = write!(screen, "{CLEAR}");
    }
}

fn line(stage: Stage, since: Duration) -> String {
    let seconds = since.as_secs();
    match stage.total {
        0 => format!("{} … {seconds} s", stage.what),
        total => format!("{} {} of {total}, {seconds} s", stage.what, stage.done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_since_when() {
        let stage = |total| Stage {
            what: "Fixing",
            done: 3,
            total,
            over: false,
        };
        let since = Duration::from_millis(4200);
        assert_eq!(line(stage(10), since), "Fixing 3 of 10, 4 s");
        assert_eq!(line(stage(0), since), "Fixing … 4 s");
    }
}
