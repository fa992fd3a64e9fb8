// Every six seconds the log is rotated: a new file is opened and put over the old
// number by dup2(), as daemons do, so that the number outlives its files.
#include "../lib/corpus.h"

static NOINLINE void rotate(int log, unsigned generation) {
    char name[32];
    snprintf(name, sizeof name, "log.%u", generation % 5);
    int fresh = open(scratch_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    dup2(fresh, log);
    close(fresh);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int log = open(scratch_path("log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    hold("rotate", 1);
    double rotated_s = 0;
    unsigned generation = 0;
    while (beat(20)) {
        if (write(log, "a line\n", 7) < 0) {
            return 2;
        }
        if (elapsed() - rotated_s > 6) {
            rotated_s = elapsed();
            rotate(log, generation++);
        }
    }
    return finish();
}
