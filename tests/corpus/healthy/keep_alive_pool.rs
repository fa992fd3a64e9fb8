//! A client's keep-alive pool: connections are kept after a request, reused, and
//! closed when they have been idle for ten seconds. Bursts make it breathe.

#[path = "../lib/corpus.rs"]
mod corpus;

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};

#[inline(never)]
fn checkout(pool: &mut VecDeque<(f64, TcpStream)>, upstream: SocketAddr) -> TcpStream {
    match pool.pop_back() {
        Some((_, stream)) => stream,
        None => {
            corpus::hold("checkout", 1);
            TcpStream::connect(upstream).unwrap()
        }
    }
}

fn main() {
    let upstream = corpus::upstream(true);
    let mut clock = corpus::begin();
    let mut pool = VecDeque::new();
    while clock.beat(2.0) {
        let now = clock.elapsed();
        // One to sixteen requests at once: the burst decides how many there are.
        let burst = if now as u32 % 15 < 3 {
            16
        } else {
            1 + corpus::roll() % 3
        };
        let mut busy: Vec<_> = (0..burst).map(|_| checkout(&mut pool, upstream)).collect();
        for stream in &mut busy {
            corpus::exchange(stream);
        }
        pool.extend(busy.into_iter().map(|stream| (now, stream)));
        while pool.front().is_some_and(|(used, _)| now - used > 10.0) {
            pool.pop_front();
            corpus::hold("checkout", -1);
        }
    }
    corpus::finish();
}
