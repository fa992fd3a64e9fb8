//! A look at the program now and then, while it runs: what the kernel knows
//! of its sockets is gone once it has ended, and so would be the proof. What
//! the program gives back while it works is learned here: at its end it may
//! give back everything, which teaches nothing.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{RecvTimeoutError, Sender, bounded};

use crate::attach::target::by_pid;
use crate::snapshot::of_target;
use crate::state::State;

/// Least time between two looks.
const EVERY: Duration = Duration::from_secs(60);
/// And at least this many times what a look takes: at most half a percent.
const REST: u32 = 200;

/// Looks until dropped.
pub struct Looks {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Looks {
    /// Starts looking at a process.
    pub fn at(pid: i32) -> Self {
        let (stop, stopped) = bounded::<()>(0);
        let look_on = move || {
            let mut pause = EVERY;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let start = Instant::now();
                // Taking a look keeps its facts beside the segment.
                if let Ok(mut snapshot) = by_pid(pid).and_then(of_target) {
                    State::open().learn(&mut snapshot);
                }
                pause = EVERY.max(start.elapsed() * REST);
            }
        };
        let thread = std::thread::Builder::new()
            .name("looks".into())
            .spawn(look_on)
            .ok();
        Self {
            stop: Some(stop),
            thread,
        }
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
