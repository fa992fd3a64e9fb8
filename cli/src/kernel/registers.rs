//! What the threads of a process keep in registers: each is stopped for some
//! microseconds by ptrace(2) and let go. The program must not notice: a wait
//! that the stop broke off is begun again as if no signal had come.
//!
//! One thread of ours does it. When that ends, however it ends, the kernel
//! lets go of all that it held.
#![allow(unsafe_code, reason = "ptrace(2) has no safe wrapper")]

use std::ffi::c_void;
use std::time::{Duration, Instant};

use super::{ProcDir, threads};

/// A thread that does not stop so soon sleeps in the kernel and is let go.
const STOPS_IN: Duration = Duration::from_millis(50);
/// More threads are not looked at.
const MOST_THREADS: usize = 4096;
/// All of them together.
const ALL_IN: Duration = Duration::from_secs(2);
/// Floating point and vector registers, the largest that there are.
const VECTOR_BYTES: usize = 16 << 10;
/// Begin of AVX state, and of what the kernel keeps for itself before it.
const AVX_AT: usize = 576;
const LEGACY: std::ops::Range<usize> = 32..416;
/// What a call gives back that is to be begun again unless a handler runs: the
/// kernel's ERESTARTNOHAND.
const RESTART: u64 = -514_i64 as u64;

/// Waits that give back EINTR after a stop, and that can be begun again.
const BROKEN_OFF: [i64; 14] = [
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    441, // epoll_pwait2
    libc::SYS_io_getevents,
    333, // io_pgetevents
    libc::SYS_rt_sigtimedwait,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_accept,
    libc::SYS_accept4,
    426, // io_uring_enter
];

/// What was seen.
#[derive(Debug, Default)]
pub struct Registers {
    /// Of each thread, what its registers held
    pub bytes: Vec<Vec<u8>>,
    /// Why not all were seen, in words
    pub missed: Option<String>,
    /// The longest that any thread stood still
    pub longest_stop: Duration,
}

/// Looks at every thread once.
#[must_use]
pub fn read(dir: &ProcDir) -> Registers {
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| look(dir));
        looking.join().unwrap_or_else(|_| missing("not seen"))
    })
}

fn missing(why: &str) -> Registers {
    Registers {
        missed: Some(why.to_owned()),
        ..Registers::default()
    }
}

fn look(dir: &ProcDir) -> Registers {
    let (begun, mut all) = (Instant::now(), Registers::default());
    let Ok(ids) = threads::ids(dir) else {
        return missing("its threads cannot be listed");
    };
    for (at, tid) in ids.iter().enumerate() {
        if at >= MOST_THREADS || begun.elapsed() > ALL_IN {
            all.missed = Some(format!("only {at} of {} threads were seen", ids.len()));
            break;
        }
        match one(*tid) {
            Ok((bytes, stood)) => {
                all.bytes.push(bytes);
                all.longest_stop = all.longest_stop.max(stood);
            }
            Err(libc::ESRCH) => {}
            Err(libc::EPERM | libc::EACCES) => {
                let why = "the kernel does not let this user see registers";
                all.missed = Some(format!(
                    "{why}; run memguard as root, and without a debugger"
                ));
                break;
            }
            Err(_) => all.missed = Some(format!("thread {tid} could not be stopped")),
        }
    }
    all
}

/// Its registers, and how long it stood still.
fn one(tid: i32) -> Result<(Vec<u8>, Duration), i32> {
    request(libc::PTRACE_SEIZE, tid, 0, 0)?;
    let begun = Instant::now();
    request(libc::PTRACE_INTERRUPT, tid, 0, 0)?;
    let signal = stopped(tid)?;
    let bytes = registers(tid);
    request(libc::PTRACE_DETACH, tid, 0, signal)?;
    Ok((bytes?, begun.elapsed()))
}

/// Waits for the stop; the signal that it is to be let go with.
fn stopped(tid: i32) -> Result<usize, i32> {
    let begun = Instant::now();
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes one int to a live place.
        let got = unsafe { libc::waitpid(tid, &mut status, libc::__WALL | libc::WNOHANG) };
        if got == tid && libc::WIFSTOPPED(status) {
            // Under an event number it is our stop, or one of job control.
            let own = status >> 16 != 0;
            return Ok(if own {
                0
            } else {
                libc::WSTOPSIG(status) as usize
            });
        }
        if got != 0 {
            return Err(libc::ESRCH);
        }
        if begun.elapsed() > STOPS_IN {
            return Err(libc::EBUSY);
        }
        std::thread::sleep(Duration::from_micros(10));
    }
}

fn registers(tid: i32) -> Result<Vec<u8>, i32> {
    // SAFETY: all-zero is a valid set of registers.
    let mut user: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    get_set(
        tid,
        libc::NT_PRSTATUS,
        (&raw mut user).cast(),
        size_of_val(&user),
    )?;
    begin_again(tid, &mut user)?;
    let mut vector = vec![0_u8; VECTOR_BYTES];
    let got = get_set(tid, NT_X86_XSTATE, vector.as_mut_ptr().cast(), VECTOR_BYTES)?;
    let mut bytes = words(&user);
    bytes.extend(vector.get(LEGACY).unwrap_or_default());
    bytes.extend(vector.get(AVX_AT..got).unwrap_or_default());
    Ok(bytes)
}

const NT_X86_XSTATE: libc::c_int = 0x202;

/// Those that hold values. Within a call two are the kernel's: where it goes
/// on, and its flags.
fn words(user: &libc::user_regs_struct) -> Vec<u8> {
    let mut all = vec![
        user.rbx, user.rbp, user.r12, user.r13, user.r14, user.r15, user.rdi, user.rsi, user.rdx,
        user.r10, user.r8, user.r9,
    ];
    if user.orig_rax as i64 == -1 {
        all.extend([user.rax, user.rcx, user.r11]);
    }
    all.into_iter().flat_map(u64::to_ne_bytes).collect()
}

/// A wait that our stop broke off would give the program EINTR.
fn begin_again(tid: i32, user: &mut libc::user_regs_struct) -> Result<(), i32> {
    let broken = user.rax as i64 == -i64::from(libc::EINTR);
    if !broken || !BROKEN_OFF.contains(&(user.orig_rax as i64)) {
        return Ok(());
    }
    user.rax = RESTART;
    let part = libc::iovec {
        iov_base: std::ptr::from_mut(user).cast(),
        iov_len: size_of_val(user),
    };
    let at = (&raw const part) as usize;
    request(libc::PTRACE_SETREGSET, tid, libc::NT_PRSTATUS as usize, at)
}

/// How many bytes of the set there are.
fn get_set(tid: i32, set: libc::c_int, to: *mut c_void, bytes: usize) -> Result<usize, i32> {
    let part = libc::iovec {
        iov_base: to,
        iov_len: bytes,
    };
    let at = (&raw const part) as usize;
    request(libc::PTRACE_GETREGSET, tid, set as usize, at)?;
    // SAFETY: the kernel may have changed the length behind the compiler's back.
    Ok(unsafe { std::ptr::read_volatile(&raw const part.iov_len) })
}

fn request(what: libc::c_uint, tid: i32, address: usize, data: usize) -> Result<(), i32> {
    // SAFETY: requests that take memory get one iovec of ours that outlives the
    // call, over memory of ours of that length.
    let done = unsafe { libc::ptrace(what, tid, address, data) };
    if done == -1 {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Running, wait_for};
    use super::*;

    /// Keeps a number in one register only, in a wait that a stop breaks off;
    /// counts how often the wait ends early.
    const C: &str = "
        #include <stdio.h>
        #include <string.h>
        #include <sys/epoll.h>
        #include <unistd.h>
        static long wait_with(long number, int epoll, int ms) {
            struct epoll_event event;
            register long kept __asm__(\"r12\") = number;
            register long timeout __asm__(\"r10\") = ms;
            long got;
            __asm__ volatile(\"syscall\" : \"=a\"(got), \"+r\"(kept)
                : \"0\"(232L), \"D\"((long)epoll), \"S\"(&event), \"d\"(1L), \"r\"(timeout)
                : \"rcx\", \"r11\", \"memory\");
            return got;
        }
        int main(int argc, char **argv) {
            int epoll = epoll_create1(0);
            write(1, \"\\n\", 1);
            for (;;) {
                long got = wait_with(0x5eed1234L, epoll, -1);
                if (got < 0) write(2, \"!\", 1);
            }
        }";

    #[test]
    fn what_only_a_register_holds_is_seen_and_the_program_does_not_notice() {
        let folder = tempfile::tempdir().unwrap();
        let (source, program) = (folder.path().join("p.c"), folder.path().join("p"));
        std::fs::write(&source, C).unwrap();
        let mut gcc = std::process::Command::new("gcc");
        let built = gcc.args(["-O1", "-w", "-o"]).arg(&program).arg(&source);
        assert!(built.status().unwrap().success());
        let complaints = folder.path().join("complaints");
        let mut command = std::process::Command::new(&program);
        command.stdout(std::process::Stdio::null());
        command.stderr(std::fs::File::create(&complaints).unwrap());
        let child = Running::start(&mut command);
        let dir = child.dir();
        let waits = || {
            dir.read("syscall")
                .is_ok_and(|line| line.starts_with(b"232 "))
        };
        for _ in 0..50 {
            wait_for(|| waits().then_some(()));
            let seen = read(&dir);
            assert_eq!((seen.bytes.len(), seen.missed), (1, None));
            let wanted = 0x5eed_1234_u64.to_ne_bytes();
            assert!(seen.bytes[0].windows(8).any(|word| word == wanted));
        }
        wait_for(|| waits().then_some(()));
        assert_eq!(std::fs::read(complaints).unwrap(), b"", "EINTR was seen");
    }

    #[test]
    fn a_program_that_runs_or_stands_stopped_goes_on_as_it_was() {
        let mut command = std::process::Command::new("sh");
        let busy = Running::start(command.args(["-c", "while :; do :; done"]));
        assert_eq!(read(&busy.dir()).missed, None);
        let state = || {
            let stat = busy.dir().read("stat").unwrap();
            stat[stat.iter().rposition(|byte| *byte == b')').unwrap() + 2]
        };
        wait_for(|| (state() == b'R').then_some(()));
        let pid = rustix::process::Pid::from_raw(busy.pid()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        wait_for(|| (state() == b'T').then_some(()));
        let seen = read(&busy.dir());
        assert_eq!((seen.bytes.len(), seen.missed), (1, None));
        wait_for(|| (state() == b'T').then_some(()));
    }

    #[test]
    fn a_program_that_is_gone_has_no_registers() {
        let child = Running::start(std::process::Command::new("sleep").arg("60"));
        let dir = child.dir();
        drop(child);
        assert!(read(&dir).bytes.is_empty());
    }
}
