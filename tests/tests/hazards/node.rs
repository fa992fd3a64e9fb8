//! libuv closes by syscall(2), not by close(3).
//!
//! Guard: the `syscall` stub. Without it a node server's hundreds of closed
//! connections stay in the table.

use memguard_tests::{Mode, Program, compile, skip};

#[test]
fn a_node_servers_closes_are_seen() {
    let node = "/usr/bin/node";
    if !skip::file("node", node) {
        return;
    }
    let program = Program::at(node).arg(compile::sources().join("server.js"));
    program.bare().ok();
    for mode in [Mode::Light, Mode::Deep] {
        let held = program.clone().mode(mode).hold();
        let sites = held.record().view().sites();
        let sum = |count: fn(&_) -> u64| sites.iter().filter(|s| is_connection(s)).map(count).sum();
        let (opened, closed): (u64, u64) = (sum(|s| s.births), sum(|s| s.deaths));
        assert_eq!(
            (opened, closed),
            (200, 200),
            "connections of the server, {mode:?}"
        );
        held.assert_numbers_agree();
        held.finish_ok();
    }
}

fn is_connection(site: &shm_protocol::view::SiteInfo) -> bool {
    site.kind == shm_protocol::codes::Kind::Accepted
}
