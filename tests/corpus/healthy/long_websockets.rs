//! Accepted connections are short but for three in a hundred, which live for
//! fifty seconds as a browser's websocket does: about fifteen once it is level.

#[path = "../lib/corpus.rs"]
mod corpus;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

fn run_clients(server: SocketAddr) {
    let mut clock = corpus::begin_peer();
    let mut number = 0;
    while clock.beat(10.0) {
        number += 1;
        let stays = number % 33 == 0;
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(server).unwrap();
            corpus::exchange(&mut stream);
            if stays {
                std::thread::sleep(Duration::from_secs(50));
            }
        });
    }
    std::thread::sleep(Duration::from_secs(3600));
}

#[inline(never)]
fn accept_one(listener: &TcpListener) -> Option<TcpStream> {
    let (stream, _) = listener.accept().ok()?;
    corpus::hold("accept_one", 1);
    Some(stream)
}

fn serve(mut stream: TcpStream) {
    let mut bytes = [0; 64];
    stream.set_nonblocking(false).unwrap();
    while stream.read(&mut bytes).is_ok_and(|length| length > 0) {
        let _ = stream.write_all(b"welcome\n");
    }
    drop(stream);
    corpus::hold("accept_one", -1);
}

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    corpus::peer(|| run_clients(server));
    listener.set_nonblocking(true).unwrap();
    let mut clock = corpus::begin();
    while clock.beat(100.0) {
        if let Some(stream) = accept_one(&listener) {
            std::thread::spawn(move || serve(stream));
        }
    }
    corpus::finish();
}
