// Healthy for 30 seconds; then the disk is "full", store_record() takes its
// error path one time in four, and forgets the file there.
#include "../lib/corpus.h"

static NOINLINE int store_record(const char *path, int full) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -1;
    }
    if (full) {
        hold("store_record", 1);
        return -1;
    }
    long written = write(fd, "record", 6);
    close(fd);
    return written == 6 ? 0 : -1;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    char path[320];
    strcpy(path, scratch_path("record"));
    hold("store_record", 0);
    long failed = 0;
    while (beat(10)) {
        int full = elapsed() > 30 && one_in(4);
        failed += store_record(path, full) != 0;
    }
    return finish();
}
