// Each request has a temporary file. Most take milliseconds, one in twelve takes
// between four and ten seconds; all are closed.
#include "../lib/corpus.h"

static NOINLINE int temp_file(void) {
    char path[320];
    strcpy(path, scratch_path("request-XXXXXX"));
    int fd = mkostemp(path, O_CLOEXEC);
    unlink(path);
    hold("temp_file", 1);
    return fd;
}

static void *request(void *slow_ms) {
    int fd = temp_file();
    if (write(fd, "body", 4) == 4) {
        nap_ms((long)(intptr_t)slow_ms);
    }
    close(fd);
    hold("temp_file", -1);
    return NULL;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    scratch_path("made before the threads");
    while (beat(12)) {
        long slow_ms = one_in(12) ? 4000 + (long)(roll() % 6000) : 3;
        pthread_t thread;
        pthread_create(&thread, NULL, request, (void *)(intptr_t)slow_ms);
        pthread_detach(thread);
    }
    return finish();
}
