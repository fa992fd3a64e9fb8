//! What every Rust program of the corpus shares: clock, pace, dice, truth log
//! and peers. A single file without crates; libc's few calls are declared here.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn fork() -> i32;
    fn prctl(option: i32, value: u64) -> i32;
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(status: i32) -> !;
}

static HELD: Mutex<BTreeMap<&str, i64>> = Mutex::new(BTreeMap::new());
static ASKED: AtomicBool = AtomicBool::new(false);
static DICE: AtomicU32 = AtomicU32::new(20_260_101);

/// The clock of a program: how long it runs and when its next beat is due.
pub struct Clock {
    begun: Instant,
    due: Instant,
    seconds: f64,
}

extern "C" fn asked(_: i32) {
    ASKED.store(true, Ordering::Relaxed);
}

/// Prints `ready`. The first argument says how long to run, or CORPUS_SECONDS, or 120.
pub fn begin() -> Clock {
    // SAFETY: the handler only stores a flag.
    unsafe { signal(10, asked) };
    println!("ready");
    begin_peer()
}

/// The same clock for a peer, which says nothing.
pub fn begin_peer() -> Clock {
    let wanted = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("CORPUS_SECONDS").ok());
    let now = Instant::now();
    Clock {
        begun: now,
        due: now,
        seconds: wanted.and_then(|text| text.parse().ok()).unwrap_or(120.0),
    }
}

impl Clock {
    /// Sleeps until the next beat; false once time is over. Answers SIGUSR1.
    pub fn beat(&mut self, per_second: f64) -> bool {
        self.due += Duration::from_secs_f64(1.0 / per_second);
        std::thread::sleep(self.due.saturating_duration_since(Instant::now()));
        if ASKED.swap(false, Ordering::Relaxed) {
            say_truth();
        }
        self.elapsed() < self.seconds
    }

    /// Seconds since `begin`.
    pub fn elapsed(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}

/// Counts what a function still holds.
pub fn hold(function: &'static str, change: i64) {
    *HELD.lock().unwrap().entry(function).or_default() += change;
}

fn say_truth() {
    for (function, count) in HELD.lock().unwrap().iter() {
        println!("held {function} {count}");
    }
}

/// The truth, then the end, with all that is held still held.
pub fn finish() -> ! {
    say_truth();
    let _ = std::fs::remove_dir_all(scratch());
    // SAFETY: nothing is left to be done.
    unsafe { _exit(0) }
}

/// The next of a row of numbers that is the same in every run.
pub fn roll() -> u32 {
    let next = |dice: u32| Some(dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    DICE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
        .unwrap()
        >> 8
}

/// True once in `n` times.
pub fn one_in(n: u32) -> bool {
    roll() % n == 0
}

/// This program's own folder, which `finish` removes.
pub fn scratch() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("corpus-rs-{}", std::process::id()));
    let _ = std::fs::create_dir(&folder);
    folder
}

/// Runs `work` in a process of its own that ends with this one.
pub fn peer(work: impl FnOnce()) {
    // SAFETY: called before this program has threads; the child never returns.
    unsafe {
        if fork() == 0 {
            prctl(1, 9);
            work();
            _exit(0);
        }
    }
}

/// An upstream in a process of its own: a line gets a line, then the
/// connection is closed, or stays until the other side closes it.
pub fn upstream(stay: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    peer(|| {
        for stream in listener.incoming().flatten() {
            let small = std::thread::Builder::new().stack_size(128 * 1024);
            small.spawn(move || answer(stream, stay)).unwrap();
        }
    });
    address
}

fn answer(mut stream: TcpStream, stay: bool) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while lines.next().is_some_and(|line| line.is_ok()) {
        if stream.write_all(b"answer\n").is_err() || !stay {
            return;
        }
    }
}

/// Sends a line and reads what comes first.
pub fn exchange(stream: &mut TcpStream) -> usize {
    let mut bytes = [0; 128];
    stream
        .write_all(b"hello\n")
        .and_then(|()| stream.read(&mut bytes))
        .unwrap_or(0)
}
