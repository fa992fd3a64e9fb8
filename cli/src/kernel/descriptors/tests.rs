use super::*;
use rustix::event::EventfdFlags;
use rustix::fd::AsRawFd;
use rustix::fs::MemfdFlags;

fn ours(depth: Depth) -> Descriptors {
    let dir = ProcDir::open(std::process::id() as i32).expect("ourselves");
    Descriptors::read(&dir, depth).expect("our own table")
}

fn find(table: &Descriptors, fd: impl AsFd) -> Descriptor {
    let number = fd.as_fd().as_raw_fd();
    table.get(number).expect("it is open").clone()
}

#[test]
fn files_show_path_position_size_and_whether_they_are_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept (deleted)");
    let lost = folder.path().join("lost");
    std::fs::write(&kept, "0123456789").expect("writable");
    std::fs::write(&lost, "01234").expect("writable");
    let mut kept_file = std::fs::File::open(&kept).expect("it exists");
    let lost_file = std::fs::File::open(&lost).expect("it exists");
    std::fs::remove_file(&lost).expect("it exists");
    std::io::Read::read_exact(&mut kept_file, &mut [0; 4]).expect("ten bytes");

    let table = ours(Depth::Facts);
    let kept_row = find(&table, &kept_file);
    assert_eq!(kept_row.kind, Kind::Regular);
    assert_eq!(
        kept_row.path,
        kept.to_str().expect("plain"),
        "a name may end that way"
    );
    assert!(!kept_row.deleted);
    assert_eq!(
        kept_row.facts,
        Facts::File {
            position: 4,
            locks: 0
        }
    );
    assert_eq!(kept_row.size_bytes, Some(10));
    assert_eq!(kept_row.close_on_exec(), Some(true));

    let lost_row = find(&table, &lost_file);
    assert_eq!(lost_row.path, lost.to_str().expect("plain"));
    assert!(lost_row.deleted);
    let stat = std::os::unix::fs::MetadataExt::ino(&lost_file.metadata().expect("open"));
    assert_eq!(lost_row.inode, stat);
}

#[test]
fn every_kind_that_can_be_made_here_is_named() {
    let memfd = rustix::fs::memfd_create("a b", MemfdFlags::CLOEXEC).expect("memfd");
    let eventfd = rustix::event::eventfd(7, EventfdFlags::empty()).expect("eventfd");
    let epoll =
        rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).expect("epoll");
    let inotify =
        rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC).expect("inotify");
    let (reader, _writer) = std::io::pipe().expect("pipe");
    let (unix, _peer) = std::os::unix::net::UnixStream::pair().expect("pair");
    let null = std::fs::File::open("/dev/null").expect("null");
    let root = std::fs::File::open("/").expect("root");
    let table = ours(Depth::Everything);
    for (row, kind, group) in [
        (find(&table, &memfd), Kind::Memfd, Group::Files),
        (find(&table, &eventfd), Kind::Eventfd, Group::Listeners),
        (find(&table, &epoll), Kind::Epoll, Group::Listeners),
        (find(&table, &inotify), Kind::Inotify, Group::Listeners),
        (find(&table, &reader), Kind::Pipe, Group::Pipes),
        (find(&table, &unix), Kind::Socket, Group::Sockets),
        (find(&table, &null), Kind::Device, Group::Files),
        (find(&table, &root), Kind::Directory, Group::Files),
    ] {
        assert_eq!((row.kind, row.kind.group()), (kind, group), "{row:?}");
        assert!(row.inode != 0 && row.flags.is_some(), "{row:?}");
    }
    assert_eq!(find(&table, &eventfd).facts, Facts::Counter(7));
    assert_eq!(find(&table, &eventfd).close_on_exec(), Some(false));
}

#[test]
fn an_epoll_names_its_registrations_by_object() {
    use rustix::event::epoll;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    let (reader, _writer) = std::io::pipe().expect("pipe");
    let data = epoll::EventData::new_u64(0xfeed_f00d);
    epoll::add(&epoll, &reader, data, epoll::EventFlags::IN).expect("registered");
    let table = ours(Depth::Facts);
    let Facts::Epoll(registered) = find(&table, &epoll).facts else {
        panic!("no facts of an epoll")
    };
    let pipe = find(&table, &reader);
    assert_eq!(registered.len(), 1);
    assert_eq!(registered[0].data, 0xfeed_f00d);
    assert_eq!(
        (registered[0].fd, registered[0].device, registered[0].inode),
        (pipe.fd, pipe.device, pipe.inode)
    );
}

#[test]
fn what_epolls_watch_is_left_out_where_nobody_asks() {
    use rustix::event::epoll;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    let eventfd = rustix::event::eventfd(7, EventfdFlags::empty()).expect("eventfd");
    epoll::add(
        &epoll,
        &eventfd,
        epoll::EventData::new_u64(1),
        epoll::EventFlags::IN,
    )
    .expect("registered");
    let table = ours(Depth::WithoutEpolls);
    assert_eq!(find(&table, &epoll).facts, Facts::None);
    assert_eq!(find(&table, &epoll).kind, Kind::Epoll);
    assert_eq!(find(&table, &eventfd).facts, Facts::Counter(7));
}

#[test]
fn a_large_table_is_complete_and_in_order() {
    let files: Vec<_> = (0..3000)
        .map_while(|_| std::fs::File::open("/dev/null").ok())
        .collect();
    let table = ours(Depth::Facts);
    for file in &files {
        assert_eq!(find(&table, file).path, "/dev/null");
    }
    assert!(table.open.is_sorted_by_key(|row| row.fd));
}

#[test]
fn numbers_become_text() {
    for number in [0, 7, 10, 1_048_576, i32::MAX] {
        assert_eq!(decimal(number, &mut [0; 12]), number.to_string());
    }
}
