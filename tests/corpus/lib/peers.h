// The other side of the corpus's network programs: a process of its own for
// each client or upstream, so that its sockets are not the program's.
#ifndef CORPUS_PEERS_H
#define CORPUS_PEERS_H

#include "corpus.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

static UNUSED struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

// listen_any(&port): a listener on a port that the kernel chooses.
static UNUSED int listen_any(int *port) {
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 512) ||
        getsockname(listener, (struct sockaddr *)&address, &length)) {
        perror("listen_any");
        exit(2);
    }
    *port = ntohs(address.sin_port);
    return listener;
}

// connect_to(fd, port): 0 if somebody accepts.
static UNUSED int connect_to(int fd, int port) {
    struct sockaddr_in address = loopback(port);
    return connect(fd, (struct sockaddr *)&address, sizeof address);
}

// read_some(fd): waits for bytes; what read(2) returned.
static UNUSED long read_some(int fd) {
    char bytes[512];
    return read(fd, bytes, sizeof bytes);
}

static UNUSED void say(int fd, const char *text) {
    if (write(fd, text, strlen(text)) < 0) {
        return;
    }
}

// ask(port): a whole request on a connection of its own, as a client's process
// makes it; the fd is closed.
static UNUSED void ask(int port, const char *text) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect_to(fd, port) == 0) {
        say(fd, text);
        read_some(fd);
    }
    close(fd);
}

// client(run, port): a process that runs until this one ends. It has none of
// this one's descriptors.
static UNUSED void client(void (*run)(int port), int port) {
    pid_t parent = getpid();
    if (fork() != 0) {
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGUSR1, SIG_IGN);
    close_range(3, ~0U, 0);
    if (getppid() == parent) {
        // Its own stdout, or it would say `ready` a second time.
        close(1);
        open("/dev/null", O_WRONLY);
        run(port);
    }
    _exit(0);
}

// upstream(serve): the port of a process that serves its listener until this one ends.
static UNUSED int upstream(void (*serve)(int listener)) {
    int port, listener = listen_any(&port);
    pid_t parent = getpid();
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGUSR1, SIG_IGN);
        if (getppid() == parent) {
            serve(listener);
        }
        _exit(0);
    }
    close(listener);
    return port;
}

// answer(listener, stay): each line gets a line; then the connection is closed,
// or stays until the other side closes it.
static UNUSED void answer(int listener, int stay) {
    static struct pollfd polled[4096];
    nfds_t count = 1;
    polled[0].fd = listener;
    polled[0].events = POLLIN;
    while (poll(polled, count, -1) >= 0) {
        for (nfds_t i = count; i-- > 1;) {
            if (polled[i].revents == 0) {
                continue;
            }
            int over = read_some(polled[i].fd) <= 0;
            if (!over) {
                say(polled[i].fd, "answer\n");
            }
            if (over || !stay) {
                close(polled[i].fd);
                polled[i] = polled[--count];
            }
        }
        if (polled[0].revents && count < 4096) {
            polled[count].fd = accept(listener, NULL, NULL);
            polled[count].events = POLLIN;
            polled[count++].revents = 0;
        }
    }
}

static UNUSED void answer_and_close(int listener) { answer(listener, 0); }
static UNUSED void answer_and_stay(int listener) { answer(listener, 1); }

#endif
