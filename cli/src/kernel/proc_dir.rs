//! One process's directory below `/proc`, held open.
//!
//! Every read goes through this descriptor: when the process ends and its pid
//! is used again, the reads fail instead of showing the newcomer.

use super::KernelError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, RawDir, openat};
use rustix::io::Errno;
use std::mem::MaybeUninit;

/// No file below `/proc/PID` that memguard reads whole is larger than this;
/// more is cut off, so that a hostile process cannot fill our memory.
pub const READ_CAP_BYTES: usize = 64 << 20;

/// An open `/proc/PID`.
#[derive(Debug)]
pub struct ProcDir {
    pid: i32,
    dir: OwnedFd,
}

impl ProcDir {
    /// Opens `/proc/PID`; the number of a thread leads to its process.
    pub fn open(pid: i32) -> Result<Self, KernelError> {
        let found = Self::open_exactly(pid)?;
        match found.leader()? {
            leader if leader == pid => Ok(found),
            leader => Self::open_exactly(leader),
        }
    }

    fn open_exactly(pid: i32) -> Result<Self, KernelError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = format!("/proc/{pid}");
        match openat(rustix::fs::CWD, &*path, flags, Mode::empty()) {
            Ok(dir) if pid > 0 => Ok(Self { pid, dir }),
            Ok(_) | Err(Errno::NOENT | Errno::SRCH) => Err(KernelError::NoProcess { pid }),
            Err(errno) => Err(KernelError::from_errno(pid, "", errno)),
        }
    }

    /// The thread group leader, from the `Tgid:` line.
    fn leader(&self) -> Result<i32, KernelError> {
        let status = self.read("status")?;
        let tgid = super::text::field(&status, "Tgid:").and_then(|v| v.parse().ok());
        tgid.ok_or_else(|| KernelError::malformed(self.pid, "status", "no Tgid line"))
    }

    /// The process's number in our pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The directory, for calls relative to it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Reads a file whole, up to [`READ_CAP_BYTES`].
    pub fn read(&self, file: &str) -> Result<Vec<u8>, KernelError> {
        read_at(self.fd(), file, READ_CAP_BYTES).map_err(|errno| self.error(file, errno))
    }

    /// The text of a link such as `exe` or `ns/net`.
    pub fn link(&self, file: &str) -> Result<Vec<u8>, KernelError> {
        rustix::fs::readlinkat(self.fd(), file, Vec::new())
            .map(|text| text.into_bytes())
            .map_err(|errno| self.error(file, errno))
    }

    /// Opens a file or follows a link below the directory.
    pub fn open_file(&self, file: &str, flags: OFlags) -> Result<OwnedFd, KernelError> {
        openat(self.fd(), file, flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| self.error(file, errno))
    }

    /// The numbers that a folder like `fd` or `task` lists, ascending.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn numbers(&self, folder: &str) -> Result<Vec<i32>, KernelError> {
        let listed = self.open_file(folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut buffer = vec![MaybeUninit::uninit(); 32 << 10];
        let mut entries = RawDir::new(&listed, &mut buffer);
        let mut numbers = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|errno| self.error(folder, errno))?;
            numbers.extend(entry.file_name().to_str().unwrap_or("").parse::<i32>().ok());
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The inode that names a namespace, from a link like `net:[4026531840]`.
    pub fn namespace(&self, name: &str) -> Result<u64, KernelError> {
        let file = format!("ns/{name}");
        let text = self.link(&file)?;
        super::text::bracketed(&text)
            .ok_or_else(|| KernelError::malformed(self.pid, &file, "no inode in the link"))
    }

    /// A file that is missing below an open directory means that the process
    /// has ended, unless this kernel does not have that file at all.
    pub fn error(&self, file: &str, errno: Errno) -> KernelError {
        let gone = errno == Errno::NOENT
            && rustix::fs::accessat(
                self.fd(),
                "stat",
                rustix::fs::Access::EXISTS,
                rustix::fs::AtFlags::empty(),
            )
            .is_err();
        match gone {
            true => KernelError::Gone { pid: self.pid },
            false => KernelError::from_errno(self.pid, file, errno),
        }
    }
}

/// Reads at most `cap` bytes of a file relative to a directory.
pub fn read_at(dir: BorrowedFd<'_>, file: &str, cap: usize) -> Result<Vec<u8>, Errno> {
    let fd = openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    read_up_to(fd.as_fd(), cap)
}

/// Reads at most `cap` bytes of an open file.
pub fn read_up_to(fd: BorrowedFd<'_>, cap: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    // The kernel hands out most of its texts a page at a time.
    let mut chunk = [0; 8 << 10];
    while bytes.len() < cap {
        let want = chunk.len().min(cap - bytes.len());
        match rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut chunk[..want]))? {
            0 => break,
            got => bytes.extend_from_slice(&chunk[..got]),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_leads_to_its_process() {
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        let dir = ProcDir::open(tid).expect("our own thread");
        assert_eq!(dir.pid(), std::process::id() as i32);
    }

    #[test]
    fn numbers_that_name_no_process_are_refused() {
        for pid in [0, -1, i32::MAX] {
            let refused = ProcDir::open(pid);
            assert!(
                matches!(refused, Err(KernelError::NoProcess { .. })),
                "{pid}"
            );
        }
    }

    #[test]
    fn a_process_that_ended_is_gone_even_while_its_directory_is_open() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep");
        let dir = ProcDir::open(child.id() as i32).expect("a live child");
        child.kill().expect("our child");
        child.wait().expect("our child");
        assert!(matches!(dir.read("stat"), Err(KernelError::Gone { .. })));
    }
}
