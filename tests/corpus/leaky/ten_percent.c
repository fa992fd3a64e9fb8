// Twice a second check_licence() opens a file, and one time in ten it forgets
// it: the leak of 10 % at 2/s.
#include "../lib/corpus.h"

static NOINLINE int check_licence(const char *path, int expired) {
    char text[16];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text) < 0) {
        return -1;
    }
    if (expired) {
        hold("check_licence", 1);
        return 1;
    }
    close(fd);
    return 0;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    char path[320];
    strcpy(path, scratch_path("licence"));
    write_file(path, 30);
    long expired = 0;
    // Every tenth, not one in ten by dice: the first seconds are the same for all.
    for (unsigned number = 1; beat(2); number++) {
        expired += check_licence(path, number % 10 == 0);
    }
    return finish();
}
