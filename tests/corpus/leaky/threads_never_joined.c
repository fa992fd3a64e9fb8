// run_in_background() starts a thread for each mail and never joins it: the
// thread is over after 50 ms, its stack stays mapped.
#include "../lib/corpus.h"

static void *send_mail(void *argument) {
    nap_ms(50);
    return argument;
}

static NOINLINE int run_in_background(void) {
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 * 1024);
    int failed = pthread_create(&thread, &small, send_mail, NULL);
    hold("run_in_background", failed == 0);
    pthread_attr_destroy(&small);
    return failed;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int failed = 0;
    while (beat(3)) {
        failed += run_in_background();
    }
    return finish();
}
