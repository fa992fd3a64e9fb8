// A hundred connections are opened at the start and stay idle, which is right.
// Beside them lookup() forgets one connection in ten of its own, which is not.
#include "../lib/peers.h"

static int pool[100];

static NOINLINE int open_pooled(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    connect_to(fd, port);
    return fd;
}

static NOINLINE long lookup(int port, int empty) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    connect_to(fd, port);
    say(fd, "lookup\n");
    long length = read_some(fd);
    if (empty) {
        hold("lookup", 1);
        return 0;
    }
    close(fd);
    return length;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int port = upstream(answer_and_stay);
    for (int i = 0; i < 100; i++) {
        pool[i] = open_pooled(port);
    }
    long sum = 0;
    while (beat(8)) {
        sum += lookup(port, one_in(10));
    }
    return sum == 0 ? 1 : finish();
}
