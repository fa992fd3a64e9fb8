// start_worker() forks and forgets: each child ends at once and stays a zombie.
#include "../lib/corpus.h"

static NOINLINE int start_worker(void) {
    pid_t worker = fork();
    if (worker == 0) {
        _exit(0);
    }
    hold("start_worker", worker > 0);
    return worker > 0;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int started = 0;
    while (beat(2)) {
        started += start_worker();
    }
    return finish();
}
