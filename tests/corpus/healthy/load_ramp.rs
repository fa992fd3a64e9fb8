//! Load rises for fifty seconds and then stays level: sessions of eight seconds,
//! each with a file and a buffer, first one in a while, in the end eight a second.

#[path = "../lib/corpus.rs"]
mod corpus;

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;

#[inline(never)]
fn open_session(path: &Path) -> (File, Vec<u8>) {
    corpus::hold("open_session", 1);
    (File::open(path).unwrap(), vec![1; 40_000])
}

fn main() {
    let path = corpus::scratch().join("profile");
    std::fs::write(&path, "profile").unwrap();
    let mut clock = corpus::begin();
    let (mut sessions, mut due) = (VecDeque::new(), 0.0);
    while clock.beat(20.0) {
        let now = clock.elapsed();
        due += 8.0 / 20.0 * (now / 50.0).min(1.0);
        while due >= 1.0 {
            due -= 1.0;
            sessions.push_back((now, open_session(&path)));
        }
        while sessions.front().is_some_and(|(begun, _)| now - begun > 8.0) {
            sessions.pop_front();
            corpus::hold("open_session", -1);
        }
    }
    corpus::finish();
}
