// The slow one: ten times a second read_sensor() opens a file, and one time in
// a hundred it forgets it. Six a minute.
#include "../lib/corpus.h"

static NOINLINE int read_sensor(const char *path, int noisy) {
    char text[16];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text) < 0) {
        return -1;
    }
    if (noisy) {
        hold("read_sensor", 1);
        return 1;
    }
    close(fd);
    return 0;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    char path[320];
    strcpy(path, scratch_path("sensor"));
    write_file(path, 30);
    long noisy = 0;
    for (unsigned number = 1; beat(10); number++) {
        noisy += read_sensor(path, number % 100 == 0);
    }
    return finish();
}
