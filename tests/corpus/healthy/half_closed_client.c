// Clients send their request and shut down their writing side, as `nc -N` and
// HTTP/1.0 clients do. The server's side is in CLOSE_WAIT while it works: a few
// milliseconds mostly, twelve seconds for one in ten. Each gets its answer.
#include "../lib/peers.h"

static void ask_half_closed(int port) {
    while (beat(6)) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect_to(fd, port) == 0) {
            say(fd, "work\n");
            shutdown(fd, SHUT_WR);
        }
        if (fork() == 0) {
            // Waits for the end of the answer, as long as it takes.
            while (read_some(fd) > 0) {
            }
            _exit(0);
        }
        close(fd);
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
    }
    pause();
}

struct job {
    int fd;
    long takes_ms;
};

static void *work(void *argument) {
    struct job *job = argument;
    int fd = job->fd;
    while (read_some(fd) > 0) {
    }
    nap_ms(job->takes_ms);
    free(job);
    say(fd, "answer\n");
    close(fd);
    hold("accept_one", -1);
    return NULL;
}

static NOINLINE void accept_one(int listener) {
    struct job *job = malloc(sizeof *job);
    pthread_t thread;
    job->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    job->takes_ms = one_in(10) ? 12000 : 5;
    hold("accept_one", 1);
    pthread_create(&thread, NULL, work, job);
    pthread_detach(thread);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int port, listener = listen_any(&port);
    client(ask_half_closed, port);
    struct pollfd waiting = {listener, POLLIN, 0};
    while (beat(40)) {
        if (poll(&waiting, 1, 0) > 0) {
            accept_one(listener);
        }
    }
    return finish();
}
