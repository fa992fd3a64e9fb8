//! The leak of 10 % at 2/s with sockets: every tenth call of `book` stores its
//! connection where nobody looks again. ESTABLISHED, for the upstream waits.

#[path = "../lib/corpus.rs"]
mod corpus;

use std::net::{SocketAddr, TcpStream};

#[inline(never)]
fn book(upstream: SocketAddr, refused: bool, refusals: &mut Vec<TcpStream>) -> usize {
    let mut stream = TcpStream::connect(upstream).unwrap();
    let length = corpus::exchange(&mut stream);
    if refused {
        corpus::hold("book", 1);
        refusals.push(stream);
    }
    length
}

fn main() {
    let upstream = corpus::upstream(true);
    let mut clock = corpus::begin();
    let (mut number, mut sum, mut refusals) = (0, 0, Vec::new());
    while clock.beat(2.0) {
        number += 1;
        sum += book(upstream, number % 10 == 0, &mut refusals);
    }
    assert!(sum > 0);
    corpus::finish();
}
