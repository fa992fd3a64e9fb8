// convert() closes the writing end of its pipe only if the worker succeeds; one
// worker in three fails, and then both ends stay in the parent.
#include "../lib/corpus.h"

static NOINLINE int convert(int fails) {
    int ends[2], status = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -1;
    }
    pid_t worker = fork();
    if (worker == 0) {
        _exit(fails || write(ends[1], "ok", 2) != 2);
    }
    waitpid(worker, &status, 0);
    if (status != 0) {
        hold("convert", 2);
        return -1;
    }
    close(ends[0]);
    close(ends[1]);
    return 0;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    long failed = 0;
    while (beat(4)) {
        failed += convert(one_in(3)) != 0;
    }
    return finish();
}
