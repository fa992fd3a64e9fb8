// start_timeout() makes a POSIX timer for each order, disarms it when the order
// is there, and never calls timer_delete().
#include "../lib/corpus.h"

static NOINLINE timer_t start_timeout(void) {
    timer_t timer;
    struct sigevent event = {};
    struct itimerspec after = {{0, 0}, {60, 0}};
    event.sigev_notify = SIGEV_NONE;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) {
        return NULL;
    }
    timer_settime(timer, 0, &after, NULL);
    hold("start_timeout", 1);
    return timer;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    struct itimerspec never = {};
    while (beat(3)) {
        timer_t timer = start_timeout();
        nap_ms(20);
        timer_settime(timer, 0, &never, NULL);
    }
    return finish();
}
