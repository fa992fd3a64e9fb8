// malloc+free pairs of random sizes from 16 to 271 bytes.
// Usage: pairs THREADS PAIRS SLOTS. SLOTS 1 frees each block at once; more
// slots keep that many blocks alive and replace a random one.
#include "measure.h"
#include <pthread.h>

enum { SIZES = 4096 };

struct job {
    long pairs, slots;
    uint64_t seed, cpu_ns;
};

static void fill_sizes(uint16_t *sizes, uint64_t *state) {
    for (int i = 0; i < SIZES; i++)
        sizes[i] = (uint16_t)(16 + (next_random(state) >> 56));
}

static void replace(void **slot, size_t size) {
    free(*slot);
    char *block = malloc(size);
    must(block != NULL, "malloc");
    *(volatile char *)block = 1;
    *slot = block;
}

__attribute__((noinline)) static void *work(void *argument) {
    struct job *job = argument;
    uint16_t sizes[SIZES];
    uint64_t state = job->seed;
    fill_sizes(sizes, &state);
    void **slots = calloc((size_t)job->slots, sizeof *slots);
    must(slots != NULL, "calloc");
    uint64_t mask = (uint64_t)job->slots - 1; // SLOTS is a power of two
    uint64_t start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (long i = 0; i < job->pairs; i++) {
        uint64_t slot = mask ? (next_random(&state) >> 32) & mask : 0;
        replace(&slots[slot], sizes[i % SIZES]);
    }
    job->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    return NULL;
}

int main(int argc, char **argv) {
    enum { MOST = 16 };
    long threads = argument(argc, argv, 1, "THREADS"), pairs = argument(argc, argv, 2, "PAIRS");
    long slots = argument(argc, argv, 3, "SLOTS");
    must(threads <= MOST && (slots & (slots - 1)) == 0, "THREADS or SLOTS");
    struct job jobs[MOST];
    pthread_t ids[MOST];
    for (long i = 0; i < threads; i++) {
        jobs[i] = (struct job){.pairs = pairs, .slots = slots, .seed = (uint64_t)(0x9E3779B97F4A7C15ULL * (i + 1))};
        // One thread means the main thread: libc keeps its single-thread paths.
        if (threads == 1)
            work(&jobs[i]);
        else
            must(pthread_create(&ids[i], NULL, work, &jobs[i]) == 0, "pthread_create");
    }
    uint64_t total = 0;
    for (long i = 0; i < threads; i++) {
        if (threads > 1)
            pthread_join(ids[i], NULL);
        total += jobs[i].cpu_ns;
    }
    print_result(total, (uint64_t)(threads * pairs));
    return 0;
}
