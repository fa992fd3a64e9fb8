// A hundred connections are opened at the start and stay idle; a few requests a
// second borrow one. Others are opened and closed beside them by the same code.
#include "../lib/peers.h"

static int pool[100];

static NOINLINE int open_connection(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect_to(fd, port) != 0) {
        perror("open_connection");
        exit(2);
    }
    return fd;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int port = upstream(answer_and_stay);
    for (int i = 0; i < 100; i++) {
        pool[i] = open_connection(port);
    }
    hold("open_connection", 100);
    while (beat(8)) {
        // Only the first ten are ever used: ninety stay idle for the whole run.
        int fd = one_in(2) ? pool[roll() % 10] : open_connection(port);
        say(fd, "hello\n");
        read_some(fd);
        if (fd > pool[99]) {
            close(fd);
        }
    }
    return finish();
}
