// The self-pipe trick: a signal handler writes to a pipe that poll() reads. The
// pipe lives as long as the program; a pipe for each of the jobs does not.
#include "../lib/corpus.h"

#include <poll.h>
#include <sys/time.h>

static int self[2];

static void on_alarm(int signal_number) {
    char byte = (char)signal_number;
    if (write(self[1], &byte, 1) < 0) {
        _exit(3);
    }
}

static NOINLINE void make_pipe(int ends[2]) {
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        exit(2);
    }
}

int main(int argc, char **argv) {
    begin(argc, argv);
    struct sigaction action = {};
    struct itimerval often = {{0, 200000}, {0, 200000}};
    make_pipe(self);
    hold("make_pipe", 2);
    action.sa_handler = on_alarm;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    struct pollfd readable = {self[0], POLLIN, 0};
    char byte;
    while (beat(10)) {
        int job[2];
        make_pipe(job);
        while (poll(&readable, 1, 0) > 0 && read(self[0], &byte, 1) > 0) {
        }
        close(job[0]);
        close(job[1]);
    }
    return finish();
}
