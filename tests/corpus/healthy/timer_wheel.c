// Each request gets a timer that lives between one and fifteen seconds, in a
// wheel of slots: some forty are armed at any time.
#include "../lib/corpus.h"

#include <sys/timerfd.h>

static int wheel[16][8];

static NOINLINE int arm(int after_s) {
    struct itimerspec once = {{0, 0}, {after_s, 0}};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    timerfd_settime(timer, 0, &once, NULL);
    hold("arm", 1);
    return timer;
}

static void turn(int slot) {
    for (int i = 0; i < 8; i++) {
        if (wheel[slot][i]) {
            close(wheel[slot][i]);
            hold("arm", -1);
            wheel[slot][i] = 0;
        }
    }
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int now = 0;
    while (beat(5)) {
        if ((int)elapsed() != now) {
            now = (int)elapsed();
            turn(now % 16);
        }
        int after_s = 1 + (int)(roll() % 15), slot = (now + after_s) % 16;
        for (int i = 0; i < 8; i++) {
            if (!wheel[slot][i]) {
                wheel[slot][i] = arm(after_s);
                break;
            }
        }
    }
    return finish();
}
