// Reads of one byte each, and nothing else: what stamping costs a server that
// does only small reads. Usage: small_reads COUNT NUMBER. The byte comes from
// /dev/zero, under descriptor NUMBER.
#include "measure.h"
#include <fcntl.h>
#include <unistd.h>

// Apart from main, so that callgrind can count this and nothing else.
__attribute__((noinline)) static void work(long count, int fd) {
    char byte;
    for (long i = 0; i < count; i++)
        must(read(fd, &byte, 1) == 1, "read");
}

int main(int argc, char **argv) {
    long count = argument(argc, argv, 1, "COUNT");
    int number = (int)argument(argc, argv, 2, "NUMBER");
    must(dup2(open("/dev/zero", O_RDONLY), number) == number, "dup2");
    uint64_t start = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    work(count, number);
    print_result(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start, (uint64_t)count);
    return 0;
}
