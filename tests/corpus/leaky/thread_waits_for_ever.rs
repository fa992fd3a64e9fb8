//! `start_export` gives each export a thread and a channel. Of a cancelled
//! export the sender is kept in a list, so that its thread waits for ever.

#[path = "../lib/corpus.rs"]
mod corpus;

use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

#[inline(never)]
fn start_export() -> (Sender<u32>, JoinHandle<u32>) {
    let (sender, rows) = channel();
    let small = Builder::new().stack_size(128 * 1024);
    let thread = small.spawn(move || rows.iter().sum()).unwrap();
    (sender, thread)
}

fn main() {
    let mut clock = corpus::begin();
    let (mut cancelled, mut sum) = (Vec::new(), 0);
    while clock.beat(6.0) {
        let (sender, thread) = start_export();
        sender.send(1).unwrap();
        if corpus::one_in(4) {
            corpus::hold("start_export", 1);
            cancelled.push(sender);
            continue;
        }
        drop(sender);
        sum += thread.join().unwrap();
    }
    assert!(sum > 0);
    corpus::finish();
}
