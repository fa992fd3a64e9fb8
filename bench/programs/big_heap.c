// Holds a heap of small blocks and waits: its resident set is what is measured.
// Usage: big_heap MIB. Prints a line once the heap stands, then waits for stdin.
#include "measure.h"
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    uint64_t wanted = (uint64_t)argument(argc, argv, 1, "MIB") << 20, held = 0;
    uint64_t state = 0x9E3779B97F4A7C15ULL;
    void **last = NULL;
    while (held < wanted) {
        size_t size = 16 + (next_random(&state) >> 56);
        void **block = malloc(size);
        must(block != NULL, "malloc");
        memset(block, 1, size);
        *block = last; // a list, so that every block stays reachable
        last = block;
        held += size;
    }
    puts("ready");
    fflush(stdout);
    char byte;
    return read(0, &byte, 1) < 0 || last == NULL;
}
