//! The children of a process: `/proc/PID/task/TID/children`, proc_pid_task(5).

use super::{KernelError, ProcDir, text, threads};
use rustix::fs::OFlags;

/// One child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its number in our pid namespace.
    pub pid: i32,
    /// Its number as its parent sees it, where both share a namespace.
    pub own_pid: i32,
    /// Its name, lossily decoded.
    pub comm: String,
    /// True when it has ended and nobody has waited for it.
    pub zombie: bool,
}

/// Reads the children of all threads; `None` where this kernel does not list
/// them (CONFIG_PROC_CHILDREN).
pub fn read(dir: &ProcDir) -> Result<Option<Vec<Child>>, KernelError> {
    let mut children = Vec::new();
    for tid in threads::ids(dir)? {
        let list = match dir.read(&format!("task/{tid}/children")) {
            Ok(list) => list,
            Err(error @ (KernelError::Gone { .. } | KernelError::NoProcess { .. })) => {
                return Err(error);
            }
            // The thread has ended, or no kernel lists any.
            Err(_) if exists(dir, tid) => return Ok(None),
            Err(_) => continue,
        };
        let pids = text::words(&list).filter_map(|word| word.parse().ok());
        children.extend(pids.filter_map(one));
    }
    children.sort_unstable_by_key(|child: &Child| child.pid);
    Ok(Some(children))
}

fn exists(dir: &ProcDir, tid: i32) -> bool {
    dir.open_file(&format!("task/{tid}"), OFlags::PATH).is_ok()
}

/// None when it is gone meanwhile.
fn one(pid: i32) -> Option<Child> {
    let dir = ProcDir::open(pid).ok()?;
    let status = dir.read("status").ok()?;
    let own_pid = text::field(&status, "NSpid:").and_then(|line| {
        line.split_whitespace()
            .next_back()
            .and_then(|word| word.parse().ok())
    });
    let state = text::field(&status, "State:")?;
    Some(Child {
        pid,
        own_pid: own_pid.unwrap_or(pid),
        comm: text::field(&status, "Name:").unwrap_or("").to_owned(),
        zombie: state.starts_with('Z'),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Running, wait_for};
    use super::*;

    #[test]
    fn those_that_run_and_those_that_nobody_waits_for() {
        let (parent, line) = Running::python(
            "import os, time\n\
             runs = os.fork()\n\
             if runs == 0: time.sleep(60); os._exit(0)\n\
             ended = os.fork()\n\
             if ended == 0: os._exit(0)\n\
             print(runs, ended, flush=True); time.sleep(60)",
        );
        let pids: Vec<i32> = line
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        let dir = parent.dir();
        let seen = wait_for(|| {
            let children = read(&dir)
                .expect("our child")
                .expect("this kernel lists them");
            children
                .iter()
                .any(|child| child.zombie)
                .then_some(children)
        });
        let seen: Vec<(i32, bool)> = seen.iter().map(|child| (child.pid, child.zombie)).collect();
        assert_eq!(seen, [(pids[0], false), (pids[1], true)]);
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pids[0]).expect("a pid"),
            rustix::process::Signal::KILL,
        )
        .expect("our grandchild");
    }
}
