//! From addresses to functions, files and lines.
//!
//! - [`symbolizer`]: the session: modules in, frames out, everything cached
//! - [`open`]: opens a program's files in its own root, or safe copies of them
//! - [`elf`]: what an ELF file says of itself: build id, segments, debug link
//! - [`debug_files`]: where its debug information may be kept apart
//! - `files`: which files belong to a module
//! - [`perf_map`]: names of code that was generated at run time
//!
//! blazesym reads the symbols and DWARF; which file it may read is decided
//! here. The files belong to the watched program: a module's file counts only
//! if its build id is the recorded one, it is found in the program's root and
//! no symbolic link there leads out of it, only regular files are opened, and
//! blazesym follows no link that a file of the program's names.

pub mod debug_files;
pub mod elf;
mod files;
pub mod open;
pub mod perf_map;
mod quiet;
pub mod symbolizer;

pub use open::{Missing, Root};
pub use perf_map::PerfMap;
pub use symbolizer::{Frame, Module, ModuleId, Place, Query, Symbolizer};

#[cfg(test)]
mod tests;
