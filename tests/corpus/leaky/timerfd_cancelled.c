// with_deadline() arms a timer for each request. A cancelled request returns
// without closing it, and the timer goes on ticking unread.
#include "../lib/corpus.h"

#include <sys/timerfd.h>

static NOINLINE int with_deadline(int cancelled) {
    struct itimerspec deadline = {{1, 0}, {1, 0}};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    timerfd_settime(timer, 0, &deadline, NULL);
    if (cancelled) {
        hold("with_deadline", 1);
        return -1;
    }
    nap_ms(10);
    close(timer);
    return 0;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    long cancelled = 0;
    while (beat(10)) {
        cancelled += with_deadline(one_in(5)) != 0;
    }
    return finish();
}
