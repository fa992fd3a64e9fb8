//! Every hazard that a watched program can meet, one file each. The head of
//! each file names the guard in the library that the test is about.

mod allocators;
mod altstack;
mod caches;
mod cancel;
mod cgroup;
mod chroot;
mod closes;
mod constructors;
mod coroutines;
mod daemon;
mod deepbind;
mod dlmopen;
mod dlopen;
mod drop;
mod early;
mod ends;
mod errno;
mod exec;
mod fork;
mod fork_in_handler;
mod freed_samples;
mod hangup;
mod heap_edges;

mod limits;
mod mailbox;
mod mlock;
mod node;
mod other_preload;
mod python_subprocess;
mod quiet;
mod retire;
mod seccomp;
mod settings;
mod shm;
mod signals;
mod sources;
mod spawn;
mod threads;
mod tiny_stack;
mod twice;
mod two_writers;
mod uses;
mod vfork;
mod young;
