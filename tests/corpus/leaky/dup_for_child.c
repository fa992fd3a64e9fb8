// with_output_of() puts a descriptor aside by dup() and brings it back by
// dup2(). If the step between fails, the one put aside is forgotten.
#include "../lib/corpus.h"

static NOINLINE int with_output_of(int target, int log, int fails) {
    int aside = dup(target);
    dup2(log, target);
    if (fails) {
        dup2(aside, target);
        hold("with_output_of", 1);
        return -1;
    }
    dup2(aside, target);
    close(aside);
    return 0;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int target = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int log = open(scratch_path("log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    long failed = 0;
    while (beat(10)) {
        failed += with_output_of(target, log, one_in(5)) != 0;
    }
    return finish();
}
