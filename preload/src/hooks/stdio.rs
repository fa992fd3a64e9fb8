//! Descriptors inside a FILE* or DIR*: opened and closed within libc.

use super::caller;
use crate::descriptors::{born, died_from, mark};
use crate::{retire, traps};
use core::ffi::{c_char, c_int};
use libc::{DIR, FILE};
use shm_protocol::codes::{Kind, fd_flag};

crate::interpose::stubs! {
    fopen(2) => fopen_hook;
    fopen64(2) => fopen64_hook;
    freopen(3) => freopen_hook;
    freopen64(3) => freopen64_hook;
    fdopen(2) => fdopen_hook;
    tmpfile(0) => tmpfile_hook;
    tmpfile64(0) => tmpfile64_hook;
    fclose(1) => fclose_hook;
    popen(2) => popen_hook;
    pclose(1) => pclose_hook;
    opendir(1) => opendir_hook;
    fdopendir(1) => fdopendir_hook;
    closedir(1) => closedir_hook;
}

pub mod real {
    //! Their originals.
    use super::*;
    type Text = *const c_char;

    crate::interpose::originals! {
        fopen: c"fopen", unsafe extern "C-unwind" fn(Text, Text) -> *mut FILE;
        fopen64: c"fopen64", unsafe extern "C-unwind" fn(Text, Text) -> *mut FILE;
        freopen: c"freopen", unsafe extern "C-unwind" fn(Text, Text, *mut FILE) -> *mut FILE;
        freopen64: c"freopen64", unsafe extern "C-unwind" fn(Text, Text, *mut FILE) -> *mut FILE;
        fdopen: c"fdopen", unsafe extern "C-unwind" fn(c_int, Text) -> *mut FILE;
        tmpfile: c"tmpfile", unsafe extern "C-unwind" fn() -> *mut FILE;
        tmpfile64: c"tmpfile64", unsafe extern "C-unwind" fn() -> *mut FILE;
        fclose: c"fclose", unsafe extern "C-unwind" fn(*mut FILE) -> c_int;
        popen: c"popen", unsafe extern "C-unwind" fn(Text, Text) -> *mut FILE;
        pclose: c"pclose", unsafe extern "C-unwind" fn(*mut FILE) -> c_int;
        opendir: c"opendir", unsafe extern "C-unwind" fn(Text) -> *mut DIR;
        fdopendir: c"fdopendir", unsafe extern "C-unwind" fn(c_int) -> *mut DIR;
        closedir: c"closedir", unsafe extern "C-unwind" fn(*mut DIR) -> c_int;
    }
}

/// Calls an original that returns a pointer, null where libc has none.
macro_rules! pointer {
    ($name:ident($($arg:expr),*)) => {
        match real::$name::get() {
            // SAFETY: the original of this very hook, the caller's arguments.
            Some(function) => unsafe { function($($arg),*) },
            None => {
                super::missing();
                return core::ptr::null_mut();
            }
        }
    };
}

/// The number inside, without touching errno.
fn number(file: *mut FILE) -> c_int {
    if file.is_null() {
        return -1;
    }
    let before = super::errno();
    // SAFETY: a stream that the caller holds or that was just made.
    let fd = unsafe { libc::fileno(file) };
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() = before };
    fd
}

fn directory_number(directory: *mut DIR) -> c_int {
    if directory.is_null() {
        return -1;
    }
    // SAFETY: a directory stream that the caller holds or that was just made.
    unsafe { libc::dirfd(directory) }
}

fn file_born(file: *mut FILE, kind: Kind, sp: usize, bp: usize) -> *mut FILE {
    born(number(file), kind, fd_flag::STDIO, caller(sp, bp));
    file
}

macro_rules! makes_file {
    // With `at`, of the file at that path.
    ($hook:ident, $real:ident($($arg:ident: $type:ty),*), $kind:expr $(, at $path:ident)?) => {
        extern "C-unwind" fn $hook($($arg: $type,)* sp: usize, bp: usize) -> *mut FILE {
            $(retire::named($path);)?
            let file = pointer!($real($($arg),*));
            file_born(file, $kind, sp, bp)
        }
    };
}

makes_file!(fopen_hook, fopen(path: *const c_char, how: *const c_char), Kind::File, at path);
makes_file!(fopen64_hook, fopen64(path: *const c_char, how: *const c_char), Kind::File, at path);
makes_file!(tmpfile_hook, tmpfile(), Kind::File);
makes_file!(tmpfile64_hook, tmpfile64(), Kind::File);
makes_file!(started_hook, popen(command: *const c_char, how: *const c_char), Kind::Popen);

extern "C-unwind" fn popen_hook(
    command: *const c_char,
    how: *const c_char,
    sp: usize,
    bp: usize,
) -> *mut FILE {
    retire::before_exec();
    started_hook(command, how, sp, bp)
}

extern "C-unwind" fn freopen_hook(
    path: *const c_char,
    how: *const c_char,
    file: *mut FILE,
    sp: usize,
    bp: usize,
) -> *mut FILE {
    retire::named(path);
    reopened(file, sp, bp, || pointer!(freopen(path, how, file)))
}

extern "C-unwind" fn freopen64_hook(
    path: *const c_char,
    how: *const c_char,
    file: *mut FILE,
    sp: usize,
    bp: usize,
) -> *mut FILE {
    retire::named(path);
    reopened(file, sp, bp, || pointer!(freopen64(path, how, file)))
}

/// freopen closes the old descriptor in any case.
fn reopened(file: *mut FILE, sp: usize, bp: usize, call: impl FnOnce() -> *mut FILE) -> *mut FILE {
    ended(sp, bp, number(file));
    file_born(call(), Kind::File, sp, bp)
}

/// The descriptor is the program's already; from now on fclose closes it.
/// libc writes to a stream past the hooks, so what was hung up becomes none.
extern "C-unwind" fn fdopen_hook(
    fd: c_int,
    how: *const c_char,
    _sp: usize,
    _bp: usize,
) -> *mut FILE {
    // Before it is asked: a trap set meanwhile sees the mark.
    mark(fd, fd_flag::STDIO);
    retire::due(fd);
    if traps::is_hung_up(fd as u32) {
        // SAFETY: errno of this thread.
        unsafe { *libc::__errno_location() = libc::EBADF };
        return core::ptr::null_mut();
    }
    pointer!(fdopen(fd, how))
}

/// The descriptor inside is about to be closed.
fn ended(sp: usize, bp: usize, fd: c_int) {
    died_from(fd, caller(sp, bp));
}

extern "C-unwind" fn fclose_hook(file: *mut FILE, sp: usize, bp: usize) -> c_int {
    ended(sp, bp, number(file));
    super::original!(fclose(file))
}

extern "C-unwind" fn pclose_hook(file: *mut FILE, sp: usize, bp: usize) -> c_int {
    ended(sp, bp, number(file));
    super::original!(pclose(file))
}

extern "C-unwind" fn opendir_hook(path: *const c_char, sp: usize, bp: usize) -> *mut DIR {
    let directory = pointer!(opendir(path));
    born(
        directory_number(directory),
        Kind::Directory,
        fd_flag::STDIO,
        caller(sp, bp),
    );
    directory
}

extern "C-unwind" fn fdopendir_hook(fd: c_int, _sp: usize, _bp: usize) -> *mut DIR {
    let directory = pointer!(fdopendir(fd));
    if !directory.is_null() {
        mark(fd, fd_flag::STDIO);
    }
    directory
}

extern "C-unwind" fn closedir_hook(directory: *mut DIR, sp: usize, bp: usize) -> c_int {
    ended(sp, bp, directory_number(directory));
    super::original!(closedir(directory))
}
