// An arena takes chunks of 256 KiB while a batch runs, and gives them all back
// at its end, every 18 seconds. One chunk is kept for the next batch.
#include "../lib/corpus.h"

struct chunk {
    struct chunk *next;
    size_t used;
    char bytes[256 * 1024];
};

static struct chunk *arena;

static NOINLINE struct chunk *grow(void) {
    struct chunk *chunk = malloc(sizeof *chunk);
    chunk->next = arena;
    chunk->used = 0;
    hold("grow", 1);
    return arena = chunk;
}

static void *take(size_t bytes) {
    if (!arena || arena->used + bytes > sizeof arena->bytes) {
        grow();
    }
    arena->used += bytes;
    return arena->bytes + arena->used - bytes;
}

static void reset(void) {
    while (arena && arena->next) {
        struct chunk *next = arena->next;
        free(arena);
        arena = next;
        hold("grow", -1);
    }
    arena->used = 0;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    double reset_s = 0;
    while (beat(50)) {
        memset(take(8000 + roll() % 8000), 1, 8000);
        if (elapsed() - reset_s > 18) {
            reset_s = elapsed();
            reset();
        }
    }
    return finish();
}
