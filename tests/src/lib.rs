//! Harness of the end-to-end tests: builds small programs, runs them bare and
//! under the library, and asks the command line what it knows about them.
//!
//! - [`artifacts`]: where the library and the command line are; builds them.
//! - [`compile`]: builds the C and C++ fixtures once.
//! - [`program`]: a program to run, with its environment; [`run`]: running it;
//!   [`outcome`]: what came of it.
//! - [`held`]: a program that stands still while it is looked at.
//! - [`facts`]: what `memguard` says; [`truth`]: what the fixture and the
//!   kernel say; [`record`]: the library's own rows, before anything is
//!   reconciled.
//! - [`mail`]: commands in its mailbox.
//! - [`session`]: a scripted session with a real program; [`python`]: the
//!   packages that some of them use.
//! - [`scratch`]: private folders; [`skip`]: tests a machine cannot run.

pub mod artifacts;
pub mod compile;
pub mod facts;
pub mod held;
pub mod mail;
pub mod outcome;
pub mod program;
pub mod python;
pub mod record;
pub mod run;
pub mod scratch;
pub mod session;
pub mod skip;
pub mod truth;

pub use facts::{Fds, Report};
pub use held::Held;
pub use mail::Mail;
pub use outcome::Outcome;
pub use program::{Mode, Program};
pub use record::Record;
pub use scratch::Scratch;
pub use session::Session;
