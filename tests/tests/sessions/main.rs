//! Real programs do the same with the library as without: same output, same
//! status, same descriptors, in a scripted session each.
//!
//! Guard: the whole of the library. A session fails at the first difference.

use memguard_tests::{Mode, Session, skip};

mod python_modules;

/// Runs a session in light and deep mode, where its program is installed.
fn session(name: &str, program: &str, args: &[&str]) {
    if skip::file(name, program) {
        Session::new(name, args).assert_same(&[Mode::Light, Mode::Deep]);
    }
}

#[test]
fn nginx() {
    session("nginx", "/usr/sbin/nginx", &[]);
}

#[test]
fn redis() {
    session("redis", "/usr/bin/redis-server", &[]);
}

#[test]
fn memcached() {
    session("memcached", "/usr/bin/memcached", &[]);
}

#[test]
fn postgres() {
    if skip::root("postgres") {
        session("postgres", "/usr/lib/postgresql", &[]);
    }
}

#[test]
fn haproxy() {
    if skip::root("haproxy") {
        session("haproxy", "/usr/sbin/haproxy", &[]);
    }
}

#[test]
fn mosquitto() {
    session("mosquitto", "/usr/sbin/mosquitto", &[]);
}

#[test]
fn uvicorn_on_asyncio() {
    session("asgi", "/usr/bin/python3", &["asyncio"]);
}

#[test]
fn uvicorn_on_uvloop() {
    session("asgi", "/usr/bin/python3", &["uvloop"]);
}

#[test]
fn gunicorn() {
    session("gunicorn", "/usr/bin/python3", &[]);
}

#[test]
fn node() {
    session("node", "/usr/bin/node", &[]);
}

#[test]
fn git() {
    session("git", "/usr/bin/git", &[]);
}

#[test]
fn gcc() {
    session("gcc", "/usr/bin/gcc", &[]);
}

#[test]
fn sshd() {
    if skip::root("sshd") {
        session("sshd", "/usr/sbin/sshd", &[]);
    }
}

#[test]
fn bash() {
    session("shell", "/usr/bin/bash", &[]);
}
