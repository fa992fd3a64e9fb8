// open+close of one regular file from the bottom of a stack of 20 frames.
// Usage: open_close COUNT PATHS LEVEL FILE. PATHS 1 takes the same call path
// every time. With more, chance chooses between two functions at each level
// from LEVEL on, counted from main: 0 makes the outermost frames differ, so that
// no part of the last stack is found again; 11 the innermost ones, as in a
// server whose loop calls now this, now that.
#include "measure.h"
#include <fcntl.h>
#include <unistd.h>

typedef void level(const char *file, unsigned choice);

// The volatile after each call keeps it from becoming a jump, which would take
// the frame off the stack. Frames differ in size, as real ones do.
#define LEVEL(name, next_a, next_b, bytes)                                                         \
    __attribute__((noinline, unused)) static void name(const char *file, unsigned choice) {        \
        __attribute__((unused)) volatile char frame[bytes];                                        \
        frame[0] = (char)choice;                                                                   \
        if (choice & 1)                                                                            \
            next_a(file, choice >> 1);                                                             \
        else                                                                                       \
            next_b(file, choice >> 1);                                                             \
        frame[0] = 0;                                                                              \
    }

__attribute__((noinline)) static void bottom(const char *file, unsigned choice) {
    __attribute__((unused)) volatile unsigned frame = choice;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    must(fd >= 0, "open");
    close(fd);
    frame = 0;
}

// 17 levels, main, work and bottom: 20 frames above libc's start code.
LEVEL(level18a, bottom, bottom, 24)
LEVEL(level18b, bottom, bottom, 40)
#define BOTH(number, below, bytes)                                                                 \
    LEVEL(level##number##a, level##below##a, level##below##b, bytes)                               \
    LEVEL(level##number##b, level##below##b, level##below##a, bytes + 32)
BOTH(17, 18, 16)
BOTH(16, 17, 48)
BOTH(15, 16, 64)
BOTH(14, 15, 16)
BOTH(13, 14, 200)
BOTH(12, 13, 32)
BOTH(11, 12, 16)
BOTH(10, 11, 96)
BOTH(9, 10, 24)
BOTH(8, 9, 16)
BOTH(7, 8, 128)
BOTH(6, 7, 16)
BOTH(5, 6, 56)
BOTH(4, 5, 16)
BOTH(3, 4, 32)
BOTH(2, 3, 80)

// Apart from main, so that callgrind can count this and nothing else.
__attribute__((noinline)) static void work(long count, long paths, long from, const char *file) {
    uint64_t state = 88172645463325252ULL;
    for (long i = 0; i < count; i++)
        level2a(file, (unsigned)((next_random(&state) >> 40) % (uint64_t)paths) << from);
}

int main(int argc, char **argv) {
    long count = argument(argc, argv, 1, "COUNT"), paths = argument(argc, argv, 2, "PATHS");
    long from = argc > 3 ? strtol(argv[3], NULL, 10) : 0;
    const char *file = argc > 4 ? argv[4] : "/etc/hostname";
    must(from >= 0 && from < 17, "LEVEL");
    uint64_t start = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    work(count, paths, from, file);
    print_result(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start, (uint64_t)count);
    return 0;
}
