//! The way into a real target: what it has lost is closed by itself.

use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use memguard::fix::inside::Inside;
use memguard::model::{Fix, FixItem, FixOutcome, Kind};
use memguard_tests::{artifacts, skip};

/// Loses two files, then opens and closes others, or stands still.
const PROGRAM: &str = r#"
import os, sys, time
lost = [os.open("/etc/hostname", os.O_RDONLY) for _ in range(2)]
print(*lost, flush=True)
while sys.argv[1] == "busy":
    os.close(os.open("/dev/null", os.O_RDONLY))
    time.sleep(0.001)
sys.stdin.read()
"#;

fn start(how: &str, segments: &std::path::Path) -> (Child, Vec<i32>) {
    use std::io::BufRead;
    let mut child = Command::new("python3")
        .args(["-c", PROGRAM, how])
        .env("LD_PRELOAD", artifacts::library())
        .env("MEMGUARD_DIR", segments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let said = child.stdout.take().unwrap();
    std::io::BufReader::new(said).read_line(&mut line).unwrap();
    let lost = line.split_whitespace().map(|fd| fd.parse().unwrap());
    (child, lost.collect())
}

fn item(pid: u32, fd: i32) -> FixItem {
    let meta = std::fs::metadata(format!("/proc/{pid}/fd/{fd}")).unwrap();
    FixItem {
        fd: Some(fd),
        object: (meta.dev(), meta.ino()),
        ..FixItem::new("files-1", Kind::Files, Fix::CloseLost, String::new())
    }
}

#[test]
fn what_is_lost_is_closed_and_the_same_item_again_is_not() {
    if !skip::file(
        "what_is_lost_is_closed_and_the_same_item_again_is_not",
        "/usr/bin/python3",
    ) {
        return;
    }
    let segments = tempfile::tempdir().unwrap();
    let (mut child, lost) = start("busy", segments.path());
    let pid = child.id();
    let inside = Inside::of(pid as i32).unwrap().expect("it is watched");
    let items: Vec<FixItem> = lost.iter().map(|fd| item(pid, *fd)).collect();
    let wrong = FixItem {
        object: (0, 0),
        ..items[1].clone()
    };
    assert_eq!(
        inside.close_lost(&items[0]).unwrap(),
        FixOutcome::ClosedLost
    );
    assert!(inside.close_lost(&wrong).is_err());
    assert!(inside.close_lost(&items[0]).is_err());
    let open = |fd: i32| std::path::Path::new(&format!("/proc/{pid}/fd/{fd}")).exists();
    assert!(open(lost[1]));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(inside.close_lost(&items[1]).is_err(), "it has ended");
}

#[test]
fn two_callers_share_an_idle_target_and_nothing_is_lost() {
    if !skip::file(
        "two_callers_share_an_idle_target_and_nothing_is_lost",
        "/usr/bin/python3",
    ) {
        return;
    }
    let segments = tempfile::tempdir().unwrap();
    let (mut child, lost) = start("idle", segments.path());
    let pid = child.id();
    let item = item(pid, lost[0]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let inside = Inside::of(pid as i32).unwrap().expect("it is watched");
                let inside = inside.patience(Duration::from_millis(300));
                let outcome = inside.close_lost(&item).unwrap();
                assert_eq!(outcome, FixOutcome::Pending);
            });
        }
    });
    child.kill().unwrap();
    child.wait().unwrap();
}
