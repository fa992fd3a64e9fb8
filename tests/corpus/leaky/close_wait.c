// fetch_quote() asks an upstream that answers and hangs up; one answer in six
// is "stale", and then the socket is forgotten in CLOSE_WAIT.
#include "../lib/peers.h"

static NOINLINE int fetch_quote(int port, int stale) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect_to(fd, port) != 0) {
        close(fd);
        return -1;
    }
    say(fd, "quote\n");
    read_some(fd);
    if (stale) {
        hold("fetch_quote", 1);
        return 1;
    }
    close(fd);
    return 0;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int port = upstream(answer_and_close);
    long stale = 0;
    while (beat(12)) {
        stale += fetch_quote(port, one_in(6)) > 0;
    }
    return finish();
}
