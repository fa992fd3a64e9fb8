//! `ping` hands its stream to mem::forget when the answer is late, "so that it
//! is not dropped twice". The upstream keeps the connection.

#[path = "../lib/corpus.rs"]
mod corpus;

use std::net::{SocketAddr, TcpStream};

#[inline(never)]
fn ping(upstream: SocketAddr, late: bool) -> usize {
    let mut stream = TcpStream::connect(upstream).unwrap();
    let length = corpus::exchange(&mut stream);
    if late {
        corpus::hold("ping", 1);
        std::mem::forget(stream);
        return 0;
    }
    length
}

fn main() {
    let upstream = corpus::upstream(true);
    let mut clock = corpus::begin();
    let mut sum = 0;
    while clock.beat(10.0) {
        sum += ping(upstream, corpus::one_in(5));
    }
    assert!(sum > 0);
    corpus::finish();
}
