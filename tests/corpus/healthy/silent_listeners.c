// Like LISTEN/NOTIFY: six clients connect in the first seconds, subscribe and
// then say nothing for the rest of the run, while short requests come and go
// through the same accept().
#include "../lib/peers.h"

static void run_clients(int port) {
    for (int i = 0; i < 6; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        connect_to(fd, port);
        say(fd, "listen\n");
        nap_ms(700);
    }
    while (beat(15)) {
        ask(port, "query\n");
    }
    pause();
}

static NOINLINE void serve_one(int listener) {
    char line[64] = "";
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (read(fd, line, sizeof line - 1) > 0 && strncmp(line, "listen", 6) == 0) {
        // Kept for a notification that does not come in this run.
        hold("serve_one", 1);
        return;
    }
    say(fd, "row\n");
    close(fd);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int port, listener = listen_any(&port);
    client(run_clients, port);
    struct pollfd waiting = {listener, POLLIN, 0};
    while (beat(50)) {
        if (poll(&waiting, 1, 0) > 0) {
            serve_one(listener);
        }
    }
    return finish();
}
