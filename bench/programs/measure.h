// What the micro-benchmarks share: a cheap random source and CPU clocks.
#ifndef MEASURE_H
#define MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

// xorshift64*: a few instructions, so that it does not hide what is measured.
static inline uint64_t next_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545F4914F6CDD1DULL;
}

static inline uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

// A positive number from the command line, or the end with a sentence.
static inline long argument(int argc, char **argv, int index, const char *name) {
    long value = index < argc ? strtol(argv[index], NULL, 10) : 0;
    if (value <= 0) {
        fprintf(stderr, "%s: argument %d (%s) must be a positive number\n", argv[0], index, name);
        exit(2);
    }
    return value;
}

// Ends a benchmark whose system call failed: a number from it would be wrong.
static inline void must(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(1);
    }
}

// The one line the engine reads: nanoseconds of CPU for one operation.
static inline void print_result(uint64_t cpu_ns, uint64_t operations) {
    printf("%.4f\n", (double)cpu_ns / (double)operations);
}

#endif
