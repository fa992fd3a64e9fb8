//! Cleaning up, without harm: a leak finding's objects go through gates, and
//! those that pass through a ladder of growing steps.
//!
//! - [`plan`]: from findings to items, each with its gates; [`preview`]: what
//!   a report says of that
//! - [`gates`]: the conditions, pure functions over facts
//! - [`owners`]: who else has the same object open
//! - [`protect`]: ports and processes that are never touched
//! - [`outside`]: acts on duplicates of the target's descriptors
//! - [`epoll`]: takes stale entries out of an epoll from outside
//! - [`stale`]: stale registrations, from finding to item and out
//! - [`needed`]: whether the program may need what they tell after all
//! - [`posix`]: POSIX timers, from finding to item; [`watches`]: dead watches
//! - [`same_file`]: duplicates among files that share an inode
//! - [`hangup`]: ends a connection whose owner took no notice of its end of file
//! - [`caches`]: gives free memory back, apart from all else
//! - [`limit`]: the soft limit on descriptors
//! - [`life`]: whether it is still the program that was looked at
//! - [`losing`]: the conditions for closing what a program has lost;
//!   [`lost`]: whether it may still know a number
//! - [`inside`]: has the target close what it lost and stop its timers, through
//!   its [`mailbox`]
//! - [`means`]: the ways to a process; [`acts`]: what is done from outside, in
//!   batches; [`ends`]: connections, a few at a time
//! - [`again`]: asks once more, shortly before objects are touched;
//!   [`others`]: what another fix did meanwhile
//! - [`pace`]: how fast, and the log that goes ahead
//! - [`retire`]: parks unused files, closes them after a quarantine
//! - [`batch`]: many of those at once, each verified
//! - [`ladder`]: canary, a tenth, all; watches for harm, verifies in the kernel
//! - `forced`: for tests only, calls everything a leak
//! - [`unix`]: AF_UNIX sockets and who is at their other end
//! - [`undo`]: sets stopped timers back; [`ticks`]: keeps what they counted
//! - [`watch`]: alive, CPU, restarts
//!
//! Nothing that the program may still use is closed: a socket's owner is shown
//! an end of file and closes it itself (ARCHITECTURE.md, I5 and I6).

pub mod acts;
pub mod again;
pub mod batch;
pub mod caches;
pub mod ends;
pub mod epoll;
#[cfg(feature = "forced-verdicts")]
pub mod forced;
pub mod gates;
pub mod hangup;
pub mod inside;
pub mod ladder;
pub mod life;
pub mod limit;
pub mod losing;
pub mod lost;
pub mod mailbox;
pub mod means;
pub mod needed;
pub mod others;
pub mod outside;
pub mod owners;
pub mod pace;
pub mod plan;
pub mod posix;
pub mod preview;
pub mod protect;
pub mod retire;
pub mod same_file;
pub mod stale;
#[cfg(test)]
mod testing;
pub mod ticks;
pub mod undo;
pub mod unix;
pub mod watch;
pub mod watches;
