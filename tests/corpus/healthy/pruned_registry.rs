//! A registry of weak references: what they point to dies at once, the entries
//! themselves are pruned every fourteen seconds.

#[path = "../lib/corpus.rs"]
mod corpus;

use std::sync::{Arc, Weak};

struct Request {
    body: [u8; 9000],
}

// An Arc's block stays until its last Weak is gone: 9 kB for each entry.
#[inline(never)]
fn register(registry: &mut Vec<Weak<Request>>) -> Arc<Request> {
    let request = Arc::new(Request { body: [1; 9000] });
    registry.push(Arc::downgrade(&request));
    corpus::hold("register", 1);
    request
}

fn main() {
    let mut clock = corpus::begin();
    let (mut registry, mut pruned, mut sum) = (Vec::new(), 0.0, 0);
    while clock.beat(80.0) {
        let request = register(&mut registry);
        sum += request.body.len();
        if clock.elapsed() - pruned > 14.0 {
            pruned = clock.elapsed();
            let before = registry.len();
            registry.retain(|entry| entry.strong_count() > 0);
            corpus::hold("register", registry.len() as i64 - before as i64);
        }
    }
    assert!(sum > 0);
    corpus::finish();
}
