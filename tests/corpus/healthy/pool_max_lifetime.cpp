// A pool of twelve connections, each replaced once it is 25 seconds old, as
// HikariCP and pgbouncer do it. Checks open a connection for a moment.
#include "../lib/peers.h"

#include <vector>

struct Pooled {
    int fd;
    double until_s;
};

static NOINLINE int connect_upstream(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    connect_to(fd, port);
    return fd;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int port = upstream(answer_and_stay);
    std::vector<Pooled> pool;
    // Staggered, so that they are not replaced all at once.
    for (int i = 0; i < 12; i++) {
        pool.push_back({connect_upstream(port), 13.0 + i});
    }
    hold("connect_upstream", 12);
    while (beat(10)) {
        Pooled &one = pool[roll() % pool.size()];
        if (elapsed() > one.until_s) {
            close(one.fd);
            one = {connect_upstream(port), elapsed() + 25};
        }
        say(one.fd, "query\n");
        read_some(one.fd);
        if (one_in(3)) {
            close(connect_upstream(port));
        }
    }
    return finish();
}
