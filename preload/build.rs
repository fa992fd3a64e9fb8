//! Linker flags of libmemguard.so.

fn main() {
    // Our constructor runs before those of every other library.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,initfirst");
    // Hooks may be on some thread's stack at any time: never unmap them.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libmemguard.so");
    // All of our own relocations are done before anybody calls us.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,now");
    // The unwinder, which only a panic of ours would ask, from gcc's archive: as
    // a library it costs each new process 0.1 ms and five mappings.
    println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    println!("cargo::rerun-if-changed=build.rs");
}
