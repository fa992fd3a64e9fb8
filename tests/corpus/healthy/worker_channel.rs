//! Four workers behind a bounded channel: it is filled faster than they can work
//! for ten seconds, stays full, and runs empty in the next ten.

#[path = "../lib/corpus.rs"]
mod corpus;

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[inline(never)]
fn job() -> Vec<u8> {
    corpus::hold("job", 1);
    vec![1; 30_000]
}

fn work(jobs: Arc<Mutex<Receiver<Vec<u8>>>>) {
    loop {
        let Ok(job) = jobs.lock().unwrap().recv() else {
            return;
        };
        std::thread::sleep(Duration::from_millis(150));
        drop(job);
        corpus::hold("job", -1);
    }
}

fn main() {
    let (sender, receiver) = sync_channel(300);
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..4 {
        let jobs = receiver.clone();
        std::thread::spawn(move || work(jobs));
    }
    let mut clock = corpus::begin();
    while clock.beat(60.0) {
        let busy = clock.elapsed() as u32 % 20 < 10;
        if busy || corpus::one_in(6) {
            let full = sender.try_send(job());
            corpus::hold("job", -i64::from(full.is_err()));
        }
    }
    corpus::finish();
}
