//! `log_in` keeps each session in a map by its token; there is no `log_out`.

#[path = "../lib/corpus.rs"]
mod corpus;

use std::collections::HashMap;

#[inline(never)]
fn log_in(sessions: &mut HashMap<u64, Vec<u8>>, token: u64) -> usize {
    let state = vec![2; 8000];
    corpus::hold("log_in", 1);
    sessions.entry(token).or_insert(state).len()
}

fn main() {
    let mut clock = corpus::begin();
    let (mut sessions, mut sum, mut token) = (HashMap::new(), 0, 0);
    while clock.beat(40.0) {
        token += 1;
        sum += log_in(&mut sessions, token);
    }
    assert!(sum > 0 && !sessions.is_empty());
    corpus::finish();
}
