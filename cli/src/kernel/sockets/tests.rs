use super::super::descriptors::Depth;
use super::super::testing::{Running, is_root};
use super::*;
use rustix::fd::{AsFd, AsRawFd};
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};

fn look(dir: &ProcDir) -> (Descriptors, Sockets) {
    let mut table = Descriptors::read(dir, Depth::Facts).expect("readable");
    let sockets = Sockets::read(dir, &mut table);
    (table, sockets)
}

fn ours() -> (Descriptors, Sockets) {
    look(&ProcDir::open(std::process::id() as i32).expect("ourselves"))
}

fn find(look: &(Descriptors, Sockets), fd: impl AsFd) -> (Kind, Socket) {
    let row = look.0.get(fd.as_fd().as_raw_fd()).expect("it is open");
    (row.kind, look.1.get(row.inode).expect("a socket").clone())
}

fn shown(address: &Option<Address>) -> String {
    address.as_ref().map_or(String::new(), Address::to_string)
}

#[test]
fn tcp_in_its_states_with_addresses_queues_and_times() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let mut gone = TcpStream::connect(("127.0.0.1", port)).expect("loopback");
    let (left, _) = listener.accept().expect("it connects");
    gone.write_all(b"seven b").expect("connected");
    drop(gone);
    let alive = TcpStream::connect(("127.0.0.1", port)).expect("loopback");
    let fresh = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    );
    let fresh = fresh.expect("a socket");

    let look = super::super::testing::wait_for(|| {
        let look = ours();
        (find(&look, &left).1.state == Some(State::CloseWait)).then_some(look)
    });
    let (kind, waiting) = find(&look, &left);
    assert_eq!(kind, Kind::Tcp);
    assert_eq!(
        (waiting.receive_queue, waiting.end_unread),
        (Some(7), Some(true))
    );
    assert_eq!(shown(&waiting.local), format!("127.0.0.1:{port}"));
    let times = waiting.tcp.expect("sock_diag gives them");
    assert_eq!(times.bytes_received, Some(7));
    assert_eq!(
        waiting.half_closed_at_least_ms(),
        Some(times.last_segment_ms)
    );
    let cookie = rustix::net::sockopt::socket_cookie(&left).expect("any socket has one");
    assert_eq!(waiting.cookie, Some(cookie));

    assert_eq!(find(&look, &listener).1.state, Some(State::Listen));
    assert_eq!(
        find(&look, &listener).1.receive_queue,
        Some(1),
        "one not accepted"
    );
    let (_, alive_row) = find(&look, &alive);
    assert_eq!(alive_row.state, Some(State::Established));
    assert_eq!(shown(&alive_row.peer), format!("127.0.0.1:{port}"));
    assert_eq!(alive_row.end_unread, None);
    assert_eq!(alive_row.half_closed_at_least_ms(), None);
    let (kind, fresh) = find(&look, &fresh);
    assert_eq!(
        (kind, fresh.state, fresh.protocol.as_deref()),
        (Kind::Tcp, None, Some("TCP"))
    );

    std::io::copy(&mut &left, &mut std::io::sink()).expect("seven bytes and the end");
    let (_, read_up) = find(&ours(), &left);
    assert_eq!(
        (read_up.receive_queue, read_up.end_unread),
        (Some(0), Some(false))
    );
}

#[test]
fn a_peer_that_closed_its_sending_half_waits_until_it_is_gone() {
    // The one end speaks IPv6, the other IPv4.
    let listener = TcpListener::bind("[::]:0").expect("any address");
    let port = listener.local_addr().expect("bound").port();
    let asks = TcpStream::connect(("127.0.0.1", port)).expect("loopback");
    let (answers, _) = listener.accept().expect("it connects");
    asks.shutdown(std::net::Shutdown::Write).expect("connected");
    let closed = |waits| {
        super::super::testing::wait_for(|| {
            let (_, socket) = find(&ours(), &answers);
            let over = socket.state == Some(State::CloseWait) && socket.peer_waits == waits;
            over.then_some(())
        });
    };
    closed(true);
    assert!(!find(&ours(), &asks).1.peer_waits);
    drop(asks);
    closed(false);

    // A server that closed its half has said all that there is.
    let asked = TcpStream::connect(("127.0.0.1", port)).expect("loopback");
    let (done, _) = listener.accept().expect("it connects");
    done.shutdown(std::net::Shutdown::Write).expect("connected");
    let left = super::super::testing::wait_for(|| {
        let (_, socket) = find(&ours(), &asked);
        (socket.state == Some(State::CloseWait)).then_some(socket)
    });
    assert!(!left.peer_waits);
}

#[test]
fn udp_and_ip_version_6() {
    let bound = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let six = TcpListener::bind("[::1]:0").expect("loopback");
    let look = ours();
    let (kind, socket) = find(&look, &bound);
    assert_eq!(
        (kind, socket.state, socket.peer),
        (Kind::Udp, Some(State::Close), None)
    );
    assert_eq!(
        shown(&socket.local),
        bound.local_addr().expect("bound").to_string()
    );
    let (kind, socket) = find(&look, &six);
    assert_eq!(kind, Kind::Tcp);
    assert_eq!(
        shown(&socket.local),
        six.local_addr().expect("bound").to_string()
    );
}

#[test]
fn unix_sockets_know_their_peer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a socket");
    let listener = UnixListener::bind(&path).expect("bindable");
    let client = UnixStream::connect(&path).expect("it listens");
    let (server, _) = listener.accept().expect("it connects");
    let look = ours();
    let inode = |fd: &UnixStream| look.0.get(fd.as_raw_fd()).expect("open").inode;
    let (kind, row) = find(&look, &client);
    assert_eq!((kind, row.state), (Kind::Unix, Some(State::Established)));
    assert_eq!(row.peer_inode, Some(inode(&server)));
    assert_eq!(shown(&row.peer), path.to_str().expect("plain"));
    let (_, row) = find(&look, &listener);
    assert_eq!(row.state, Some(State::Listen));
    assert_eq!(shown(&row.local), path.to_str().expect("plain"));
}

#[test]
fn a_netlink_socket_is_named_though_no_list_has_it() {
    use rustix::net::{AddressFamily, SocketType};
    let netlink =
        rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None).expect("netlink");
    let (kind, socket) = find(&ours(), &netlink);
    assert_eq!(
        (kind, socket.protocol.as_deref()),
        (Kind::Netlink, Some("NETLINK"))
    );
}

#[test]
fn both_sources_agree() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    let datagrams = UdpSocket::bind("[::1]:0").expect("loopback");
    let (unix, _peer) = UnixStream::pair().expect("pair");
    let dir = ProcDir::open(std::process::id() as i32).expect("ourselves");
    let (table, by_diag) = look(&dir);
    let numbers = [
        listener.as_raw_fd(),
        stream.as_raw_fd(),
        datagrams.as_raw_fd(),
        unix.as_raw_fd(),
    ];
    let inodes = numbers.map(|fd| table.get(fd).expect("open").inode);
    let by_proc = procnet::list(&dir, &inodes.into());
    for inode in inodes {
        let diag = by_diag.get(inode).expect("listed");
        let proc = by_proc.get(&inode).expect("listed");
        assert_eq!(
            (diag.kind, diag.state, &diag.local),
            (proc.kind, proc.state, &proc.local)
        );
        assert_eq!(diag.peer, proc.peer);
    }
}

#[test]
fn a_socket_in_another_network_namespace_has_its_state() {
    if !is_root() {
        return;
    }
    let (child, line) = Running::python(
        "import ctypes, socket, time; ctypes.CDLL(None).unshare(0x40000000); \
         s = socket.socket(); s.bind(('0.0.0.0', 0)); s.listen(); \
         print(s.fileno(), s.getsockname()[1], flush=True); time.sleep(60)",
    );
    let (fd, port) = line.split_once(' ').expect("two numbers");
    let (table, sockets) = look(&child.dir());
    let row = table.get(fd.parse().expect("a number")).expect("open");
    let socket = sockets.get(row.inode).expect("a socket");
    assert!(sockets.notes.is_empty(), "{:?}", sockets.notes);
    assert_eq!(socket.state, Some(State::Listen));
    assert_eq!(shown(&socket.local), format!("0.0.0.0:{port}"));
}
