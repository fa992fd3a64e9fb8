/* Accepts connections on all addresses, and holds each until the other side
 * ends it: upstream PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int epoll;

static void watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) _exit(91);
}

static int listening(int port) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    int yes = 1, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(server, (struct sockaddr *)&here, sizeof here) || listen(server, 4096)) _exit(90);
    return server;
}

int main(int argc, char **argv) {
    struct epoll_event events[64];
    char bytes[512];
    if (argc != 2) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int server = listening(atoi(argv[1]));
    watch(server);
    for (;;) {
        int ready = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == server) watch(accept4(server, NULL, NULL, SOCK_CLOEXEC));
            else if (read(fd, bytes, sizeof bytes) <= 0) close(fd);
        }
    }
}
