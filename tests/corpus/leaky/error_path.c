// One configuration file in five does not parse, and that way out of
// load_settings() forgets the descriptor.
#include "../lib/corpus.h"

static NOINLINE int load_settings(const char *path) {
    char text[64];
    int fd = open(path, O_RDONLY);
    if (fd < 0) {
        return -1;
    }
    long length = read(fd, text, sizeof text);
    if (length < 10) {
        hold("load_settings", 1);
        return -1;
    }
    close(fd);
    return 0;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    char good[320], bad[320];
    strcpy(good, scratch_path("good.conf"));
    strcpy(bad, scratch_path("bad.conf"));
    write_file(good, 40);
    write_file(bad, 4);
    long failed = 0;
    while (beat(10)) {
        failed += load_settings(one_in(5) ? bad : good) != 0;
    }
    return finish();
}
