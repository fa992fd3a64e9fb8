//! Hanging up: both directions of a connection whose owner took no notice of
//! its end of file. The number stays the program's; later writes to it fail.
//!
//! Where SIGPIPE would come of such a write, and kill the program or run a
//! handler that may end it, the library has to
//! answer it without the signal. It is told first (`Verb::ExpectHangUp`), then
//! the connection is ended from outside, on a duplicate of the very socket.

use std::collections::HashSet;
use std::os::fd::AsFd;

use super::means::{Means, settle_with};
use super::outside::{self, Untouched};
use super::unix;
use crate::kernel::Sockets;
use crate::kernel::sockets::State;
use crate::kernel::threads::SigPipe;
use crate::model::{Fix, FixItem, FixOutcome};
use rustix::io::Errno;

/// Ends those of these connections that may be; which ones were.
pub fn hang_up(means: &Means, items: &mut [FixItem], silent: &[usize]) -> Vec<usize> {
    let of_sockets = silent.iter().copied();
    let sockets: Vec<usize> = of_sockets
        .filter(|at| items[*at].action == Fix::Eof && is_tcp(means, &items[*at]))
        .collect();
    // A handler of the program's may end it as well.
    let bearable = if means.sigpipe != SigPipe::Ignored {
        told(means, items, &sockets)
    } else {
        sockets
    };
    bearable
        .into_iter()
        .filter(|at| ended(means, &mut items[*at]))
        .collect()
}

/// An AF_UNIX socket's end of file has broken its peer's writes already.
fn is_tcp(means: &Means, item: &FixItem) -> bool {
    let copy = means.hold.object(item);
    copy.is_ok_and(|copy| !unix::is_one(&copy))
}

/// Those that the program was told about, and can bear to lose.
fn told(means: &Means, items: &mut [FixItem], sockets: &[usize]) -> Vec<usize> {
    let answers = match means.inside() {
        Some(inside) => {
            let asked: Vec<&FixItem> = sockets.iter().map(|at| &items[*at]).collect();
            inside.expect_hang_ups(&asked)
        }
        None => sockets.iter().map(|_| Ok(FixOutcome::Refused)).collect(),
    };
    let answered = sockets.iter().copied().zip(answers);
    answered
        .filter_map(|(at, answer)| bears(&mut items[at], answer).then_some(at))
        .collect()
}

fn bears(item: &mut FixItem, answer: Result<FixOutcome, Untouched>) -> bool {
    let why = match answer {
        Ok(FixOutcome::Neutered) => return true,
        Ok(FixOutcome::Pending) => {
            "the end of file waits for its owner; before it is hung up on, the program has to \
             come by a call that the library sees"
        }
        _ => "the end of file waits for its owner; hanging up could kill the program by SIGPIPE",
    };
    item.detail = Some(why.to_owned());
    false
}

fn ended(means: &Means, item: &mut FixItem) -> bool {
    let copy = means.hold.object(item);
    match copy.and_then(|copy| outside::hang_up(copy.as_fd())) {
        // NOTCONN: its peer has reset the connection meanwhile. Who closed what
        // has vanished is looked at next.
        Ok(()) | Err(Untouched::Vanished | Untouched::Kernel(Errno::NOTCONN)) => return true,
        Err(why) => settle_with(item, Err(why)),
    }
    false
}

/// What the kernel says of those that are left: the connection is gone, or
/// nothing came of it.
pub fn verify(means: &Means, items: &mut [FixItem], hung_up: &[usize]) {
    let left = |at: &&usize| items[**at].outcome.is_none();
    let left: Vec<usize> = hung_up.iter().filter(left).copied().collect();
    if left.is_empty() {
        return;
    }
    let inodes = left.iter().map(|at| items[*at].object.1).collect();
    let connected = connected(means, &inodes);
    for at in left {
        let item = &mut items[at];
        let gone = !connected.contains(&item.object.1);
        item.outcome = Some(if gone {
            FixOutcome::Neutered
        } else {
            FixOutcome::Failed
        });
        let said = if gone {
            "the connection was ended in both directions"
        } else {
            "the kernel still shows the connection"
        };
        item.detail = Some(said.to_owned());
    }
}

/// Which of these inodes are of sockets that something could still be sent
/// through; a socket that is gone is in no list.
fn connected(means: &Means, wanted: &HashSet<u64>) -> HashSet<u64> {
    let listed = Sockets::listed(&means.dir, wanted);
    let sends = |inode: &u64| {
        let state = listed.get(*inode).and_then(|socket| socket.state);
        matches!(state, Some(State::Established | State::CloseWait))
    };
    wanted.iter().copied().filter(sends).collect()
}
