// watch_connection() registers a connection with epoll and keeps a duplicate for
// the log. The connection is closed without EPOLL_CTL_DEL; one in four
// duplicates is forgotten, and keeps the stale registration alive in the kernel.
#include "../lib/peers.h"

#include <sys/epoll.h>

static void run_clients(int port) {
    while (beat(10)) {
        ask(port, "log\n");
    }
    pause();
}

static NOINLINE int watch_connection(int poller, int connection) {
    struct epoll_event event = {};
    event.events = EPOLLIN;
    event.data.fd = connection;
    int for_log = dup(connection);
    epoll_ctl(poller, EPOLL_CTL_ADD, connection, &event);
    return for_log;
}

static void serve(int poller, int listener) {
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    int for_log = watch_connection(poller, connection);
    read_some(connection);
    say(for_log, "logged\n");
    close(connection);
    if (one_in(4)) {
        hold("watch_connection", 1);
        return;
    }
    close(for_log);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int port, listener = listen_any(&port), poller = epoll_create1(EPOLL_CLOEXEC);
    client(run_clients, port);
    struct pollfd waiting = {listener, POLLIN, 0};
    while (beat(40)) {
        if (poll(&waiting, 1, 0) > 0) {
            serve(poller, listener);
        }
    }
    return finish();
}
