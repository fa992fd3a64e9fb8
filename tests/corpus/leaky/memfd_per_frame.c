// draw_frame() draws into a memfd. A frame that is dropped is unmapped, but its
// descriptor is forgotten.
#include "../lib/corpus.h"

#include <sys/mman.h>

static const size_t bytes = 64 * 1024;

static NOINLINE int draw_frame(int dropped) {
    int fd = memfd_create("frame", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) {
        return -1;
    }
    char *pixels = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memset(pixels, 7, bytes);
    munmap(pixels, bytes);
    if (dropped) {
        hold("draw_frame", 1);
        return -1;
    }
    close(fd);
    return 0;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    long dropped = 0;
    while (beat(10)) {
        dropped += draw_frame(one_in(5)) != 0;
    }
    return finish();
}
