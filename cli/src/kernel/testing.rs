//! Children and waiting, for the tests of this module and its neighbours.

use super::{ProcDir, Process};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A child that is killed when the test ends, however it ends.
pub struct Running(pub Child);

impl Running {
    /// Starts it and waits until its exec is done.
    pub fn start(command: &mut Command) -> Self {
        let running = Self::spawn(command);
        let ours = std::fs::read_link("/proc/self/exe").expect("our own");
        wait_for(|| {
            let exe = std::fs::read_link(format!("/proc/{}/exe", running.pid())).ok()?;
            let words = std::fs::read(format!("/proc/{}/cmdline", running.pid())).ok()?;
            (exe != ours && !words.is_empty()).then_some(())
        });
        running
    }

    /// Starts it and does not wait.
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().expect("it can be started"))
    }

    /// Runs a Python text and waits for the line it prints when it is ready.
    /// It has no descriptors of whoever started the tests.
    pub fn python(text: &str) -> (Self, String) {
        let text = &format!("import os; os.closerange(3, 1024)\n{text}");
        let mut running = Self::spawn(
            Command::new("python3")
                .args(["-c", text])
                .stdout(Stdio::piped()),
        );
        let mut line = String::new();
        let output = running.0.stdout.take().expect("piped");
        let mut output = std::io::BufReader::new(output);
        let read = std::io::BufRead::read_line(&mut output, &mut line);
        assert!(read.is_ok_and(|bytes| bytes > 0), "it prints a line");
        (running, line.trim().to_owned())
    }

    pub fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    pub fn dir(&self) -> ProcDir {
        ProcDir::open(self.pid()).expect("a live child")
    }

    pub fn process(&self) -> Process {
        Process::read(&self.dir()).expect("our child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until there is an answer; gives up after a time that only a test that
/// hangs can reach.
pub fn wait_for<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it never happened"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Tests that need root say so by leaving early.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
