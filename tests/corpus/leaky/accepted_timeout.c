// Of the accepted connections one in five never says anything. serve_one()
// gives up on it after 300 ms, without closing it; the client stays as well.
#include "../lib/peers.h"

static void run_clients(int port) {
    while (beat(10)) {
        if (one_in(5)) {
            int silent = socket(AF_INET, SOCK_STREAM, 0);
            connect_to(silent, port);
        } else {
            ask(port, "hello\n");
        }
    }
    pause();
}

static NOINLINE void serve_one(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    struct pollfd readable = {fd, POLLIN, 0};
    if (poll(&readable, 1, 300) == 0) {
        hold("serve_one", 1);
        return;
    }
    read_some(fd);
    say(fd, "welcome\n");
    close(fd);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int port, listener = listen_any(&port);
    client(run_clients, port);
    struct pollfd waiting = {listener, POLLIN, 0};
    while (beat(40)) {
        if (poll(&waiting, 1, 0) > 0) {
            serve_one(listener);
        }
    }
    return finish();
}
