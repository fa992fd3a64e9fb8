/* An HTTP server with one epoll loop that leaks four sorts of things while it
 * answers, all from functions that mostly do it right:
 *   connect_upstream   connections, forgotten while they stand in the loop
 *   load_settings      files, whose numbers nothing holds any more
 *   with_deadline      timers, which run on and which nobody reads
 *   watch_once         registrations, whose number was closed while its file lives
 *
 *   leaks PORT UPSTREAM_PORT
 *   GET /every/N     from now on one request in N forgets one of each; 0: none
 *   GET /sockets/N   the same, of connections only
 *   GET /stats       what it has forgotten so far, and its longest step since then
 *
 * A step is the time from taking up an event until it can take up the next. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MOST 65536
#define NOTHING UINT64_MAX

enum { NOBODY, CLIENT, UPSTREAM };

static int epoll, server, kept, every, only_sockets;
static long requests, connections, files, timers, registrations, ended, surprises;
static char role[MOST];
static struct sockaddr_in upstream[8];
static long longest_ns, longest_alone_ns;

static long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000 + now.tv_nsec;
}

static long preemptions(void) {
    struct rusage used;
    getrusage(RUSAGE_THREAD, &used);
    return used.ru_nivcsw;
}

static void watch(int fd, int as) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (fd < 0 || fd >= MOST || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) _exit(91);
    role[fd] = (char)as;
}

__attribute__((noinline)) static void connect_upstream(int forget) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in *to = &upstream[requests % 8];
    if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof *to)) _exit(92);
    watch(fd, UPSTREAM);
    if (forget) {
        connections++;
        return;
    }
    role[fd] = NOBODY;
    close(fd);
}

__attribute__((noinline)) static void load_settings(int forget) {
    char bytes[16];
    int fd = open("settings", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, bytes, sizeof bytes) <= 0) _exit(93);
    if (forget) {
        files++;
        return;
    }
    close(fd);
}

__attribute__((noinline)) static void with_deadline(int forget) {
    struct itimerspec often = {{0, 100000000}, {0, 100000000}};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0 || timerfd_settime(fd, 0, &often, NULL)) _exit(94);
    if (forget) {
        timers++;
        return;
    }
    close(fd);
}

__attribute__((noinline)) static void watch_once(int forget) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = NOTHING};
    int fd = fcntl(kept, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) _exit(95);
    /* There is one of that number already, which was forgotten earlier. */
    int added = !epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    if (!added && errno != EEXIST) _exit(96);
    if (forget) registrations += added;
    else if (added && epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL)) surprises++;
    close(fd);
}

static void answer(int fd, const char *body) {
    char bytes[512];
    int length = snprintf(bytes, sizeof bytes,
                          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                          strlen(body), body);
    if (send(fd, bytes, (size_t)length, MSG_NOSIGNAL) != length) {
        role[fd] = NOBODY;
        close(fd);
    }
}

static void stats(int fd) {
    char body[320];
    snprintf(body, sizeof body,
             "{\"requests\": %ld, \"sockets\": %ld, \"files\": %ld, \"timers\": %ld, \"listeners\": %ld, \"ended\": %ld, \"surprises\": %ld, "
             "\"longest_ns\": %ld, \"longest_alone_ns\": %ld}",
             requests, connections, files, timers, registrations, ended, surprises, longest_ns,
             longest_alone_ns);
    longest_ns = longest_alone_ns = 0;
    answer(fd, body);
}

/* The registration first: its number is then handed to the next, as in life. */
static void work(int forget) {
    /* Without a branch: one place in the code makes what is kept and what is not. */
    int others = forget & !only_sockets;
    watch_once(others);
    connect_upstream(forget);
    load_settings(others);
    with_deadline(others);
}

static void forget_from_now_on(int one_in, int sockets) {
    every = one_in;
    only_sockets = sockets;
}

static void request(int fd, char *text) {
    requests++;
    if (!strncmp(text, "GET /stats", 10)) {
        stats(fd);
        return;
    }
    if (!strncmp(text, "GET /every/", 11)) forget_from_now_on(atoi(text + 11), 0);
    else if (!strncmp(text, "GET /sockets/", 13)) forget_from_now_on(atoi(text + 13), 1);
    else work(every && requests % every == 0);
    answer(fd, "{\"served\": true}");
}

static void serve(int fd) {
    /* A whole request comes at once from these clients. */
    static char text[4096];
    if (fd == server) {
        int yes = 1, client = accept4(server, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) return;
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        watch(client, CLIENT);
        return;
    }
    ssize_t got = read(fd, text, sizeof text - 1);
    if (got > 0 && role[fd] == CLIENT) {
        text[got] = 0;
        request(fd, text);
    } else if (got <= 0) {
        ended += role[fd] == UPSTREAM;
        role[fd] = NOBODY;
        close(fd);
    }
}

static void step(struct epoll_event *event) {
    if (event->data.u64 != NOTHING && (event->data.fd == server || role[event->data.fd] != NOBODY)) serve(event->data.fd);
}

static void measure(long begun_ns, long preempted) {
    long took_ns = now_ns() - begun_ns;
    if (took_ns > longest_ns) longest_ns = took_ns;
    if (took_ns > longest_alone_ns && preemptions() == preempted) longest_alone_ns = took_ns;
}

/* It first looks without waiting, so that a step has all that happens on the
 * way into the call. */
static void loop(void) {
    struct epoll_event events[64];
    for (;;) {
        int ready = epoll_wait(epoll, events, 64, -1);
        while (ready > 0) {
            long begun_ns = now_ns(), preempted = preemptions();
            for (int i = 0; i < ready - 1; i++) {
                step(events + i);
                measure(begun_ns, preempted);
                begun_ns = now_ns();
                preempted = preemptions();
            }
            step(events + ready - 1);
            ready = epoll_wait(epoll, events, 64, 0);
            measure(begun_ns, preempted);
        }
    }
}

static struct sockaddr_in at(int host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (unsigned)host);
    return address;
}

static void start(int port, int upstream_port) {
    struct rlimit limit;
    int yes = 1, ends[2];
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (int i = 0; i < 8; i++) upstream[i] = at(i, upstream_port);
    struct sockaddr_in here = at(0, port);
    server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(server, (struct sockaddr *)&here, sizeof here) || listen(server, 512)) _exit(90);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) _exit(97);
    kept = ends[0];
    watch(server, NOBODY);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    start(atoi(argv[1]), atoi(argv[2]));
    FILE *settings = fopen("settings", "w");
    if (!settings || fputs("timeout = 5000\n", settings) < 0 || fclose(settings)) return 3;
    loop();
}
