// A master forks eight workers that serve from one listener; each has a pipe to
// the master. A worker ends after 20 seconds and is replaced.
#include "../lib/peers.h"

static struct {
    pid_t pid;
    int pipe;
} workers[8];

static void run_clients(int port) {
    while (beat(20)) {
        ask(port, "hello\n");
    }
    pause();
}

static void work(int listener, int status, int number) {
    double end_s = elapsed() + 20 + number;
    struct pollfd waiting = {listener, POLLIN, 0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    while (elapsed() < end_s && write(status, ".", 1) == 1) {
        int fd = poll(&waiting, 1, 1000) > 0 ? accept(listener, NULL, NULL) : -1;
        if (fd >= 0) {
            read_some(fd);
            say(fd, "served\n");
            close(fd);
        }
    }
    _exit(0);
}

static NOINLINE void start_worker(int listener, int number) {
    int ends[2];
    if (pipe(ends) != 0) {
        exit(2);
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    workers[number].pipe = ends[0];
    workers[number].pid = fork();
    if (workers[number].pid == 0) {
        signal(SIGUSR1, SIG_IGN);
        work(listener, ends[1], number);
    }
    close(ends[1]);
    hold("start_worker", 1);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int port, listener = listen_any(&port);
    client(run_clients, port);
    for (int number = 0; number < 8; number++) {
        start_worker(listener, number);
    }
    while (beat(10)) {
        for (int number = 0; number < 8; number++) {
            while (read_some(workers[number].pipe) > 0) {
            }
            if (waitpid(workers[number].pid, NULL, WNOHANG) > 0) {
                close(workers[number].pipe);
                hold("start_worker", -1);
                start_worker(listener, number);
            }
        }
    }
    return finish();
}
