// A memory-mapped database: the file is grown and mapped anew as records come,
// by doubling, until it has its final size; readers map single pages for a moment.
#include "../lib/corpus.h"

#include <sys/mman.h>

static NOINLINE char *map_database(int fd, char *old, size_t old_bytes, size_t bytes) {
    if (ftruncate(fd, (off_t)bytes) != 0) {
        exit(2);
    }
    if (old) {
        return mremap(old, old_bytes, bytes, MREMAP_MAYMOVE);
    }
    hold("map_database", 1);
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

static NOINLINE char read_page(int fd, size_t page) {
    char *mapped = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, (off_t)(page * 4096));
    char first = mapped[0];
    munmap(mapped, 4096);
    return first;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int fd = open(scratch_path("database"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    size_t bytes = 1 << 20, used = 0, most = 32 << 20;
    char *database = map_database(fd, NULL, 0, bytes);
    long sum = 0;
    while (beat(20)) {
        memset(database + used, 1, 40000);
        used = used + 80000 > most ? 0 : used + 40000;
        if (used + 40000 > bytes && bytes < most) {
            database = map_database(fd, database, bytes, bytes * 2);
            bytes *= 2;
        }
        sum += read_page(fd, roll() % (bytes / 4096));
    }
    return sum < 0 ? 1 : finish();
}
