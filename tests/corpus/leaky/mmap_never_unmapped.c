// thumbnail() maps a picture; if its width is odd it gives up, still mapped.
#include "../lib/corpus.h"

#include <sys/mman.h>

static const size_t bytes = 128 * 1024;

static NOINLINE int thumbnail(int fd, int odd) {
    char *picture = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (picture == MAP_FAILED) {
        return -1;
    }
    int first = picture[0];
    if (odd) {
        hold("thumbnail", 1);
        return 0;
    }
    munmap(picture, bytes);
    return first;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    const char *path = scratch_path("picture");
    write_file(path, (long)bytes);
    int fd = open(path, O_RDONLY | O_CLOEXEC), sum = 0;
    while (beat(10)) {
        sum += thumbnail(fd, one_in(4));
    }
    return finish();
}
