//! Every interleaving of two or three threads on the segment's tables, as far
//! as loom goes with a few preemptions each. `scripts/loom` runs them.
//!
//! In a model no thread may wait for another, so a "kernel" that hands a
//! number or an address on is a flag that the other thread looks at once.
#![cfg(loom)]

mod fds;
mod heap;
mod mailbox;
mod plain;
mod ring;
mod sites;

use loom::sync::Arc;
use loom::thread::{self, JoinHandle};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `model` under every schedule of at most `preemptions` preemptions, and
/// says how many there were.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    let runs = std::sync::Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let runs = runs.load(Ordering::Relaxed);
    assert!(runs > 1, "a model with one schedule proves nothing");
    let name = std::thread::current().name().map(str::to_owned);
    println!("{runs:>8} schedules of {}", name.unwrap_or_default());
}

/// Runs `work` on a thread of the model with its own hold on `shared`.
fn spawn<T: Send + Sync + 'static, R: 'static>(
    shared: &Arc<T>,
    work: impl FnOnce(&T) -> R + 'static,
) -> JoinHandle<R> {
    let shared = shared.clone();
    thread::spawn(move || work(&shared))
}
