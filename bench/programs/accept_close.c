// accept+close of loopback TCP connections that another process makes.
// Usage: accept_close COUNT. Only the accepting process's CPU is counted.
#define _GNU_SOURCE
#include "measure.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int listen_on_loopback(struct sockaddr_in *address) {
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    must(bind(fd, (struct sockaddr *)address, length) == 0, "bind");
    must(listen(fd, 128) == 0, "listen");
    must(getsockname(fd, (struct sockaddr *)address, &length) == 0, "getsockname");
    return fd;
}

// Connects, waits for the acceptor's end of file, closes: never ahead by more
// than the backlog, and the acceptor keeps the TIME_WAIT state.
static void connect_all(const struct sockaddr_in *address, long count) {
    for (long i = 0; i < count; i++) {
        char byte;
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        must(connect(fd, (const struct sockaddr *)address, sizeof *address) == 0, "connect");
        must(read(fd, &byte, 1) == 0, "read");
        close(fd);
    }
    _exit(0);
}

int main(int argc, char **argv) {
    long count = argument(argc, argv, 1, "COUNT");
    struct sockaddr_in address;
    int status, listener = listen_on_loopback(&address);
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0)
        connect_all(&address, count);
    uint64_t start = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (long i = 0; i < count; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        must(fd >= 0, "accept4");
        close(fd);
    }
    uint64_t cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start;
    must(waitpid(child, &status, 0) == child && status == 0, "connecting child");
    print_result(cpu_ns, (uint64_t)count);
    return 0;
}
