// What every C and C++ program of the corpus shares: its clock, its pace, its
// dice, its scratch folder and its truth log. Peers on the network are in peers.h.
//
// A program calls begin(), works while beat(rate) says so, and returns finish().
// What it still holds it counts in held(): printed at the end and on SIGUSR1 as
// `held <function> <count>`, to be compared with what memguard reports.
#ifndef CORPUS_H
#define CORPUS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define UNUSED __attribute__((unused))

struct truth {
    const char *function;
    long count;
};

static struct truth truths[8];
static double begun_s, seconds;
static uint32_t dice = 20260101;
static char scratch[256];

static double clock_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// elapsed(): seconds since begin().
static UNUSED double elapsed(void) { return clock_s() - begun_s; }

static UNUSED void nap_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
}

// held(name): the counter of what the function still holds; any thread may add.
static UNUSED long *held(const char *function) {
    unsigned i = 0;
    while (truths[i].function && strcmp(truths[i].function, function) != 0) {
        i++;
    }
    truths[i].function = function;
    return &truths[i].count;
}

static UNUSED void hold(const char *function, long change) {
    __atomic_fetch_add(held(function), change, __ATOMIC_RELAXED);
}

// A line is put together by hand: this runs in a signal handler too.
static void say_truth(int signal_number) {
    (void)signal_number;
    int saved = errno;
    for (unsigned i = 0; i < 8 && truths[i].function; i++) {
        char line[128];
        int length = snprintf(line, sizeof line, "held %s %ld\n", truths[i].function, truths[i].count);
        if (write(1, line, (size_t)length) < 0) {
            _exit(3);
        }
    }
    errno = saved;
}

// roll(): the next of a fixed row of numbers, the same in every run.
static UNUSED uint32_t roll(void) {
    dice = dice * 1664525u + 1013904223u;
    return dice >> 8;
}

// one_in(n): true once in n times, by the same dice.
static UNUSED int one_in(unsigned n) { return roll() % n == 0; }

// scratch_path(name): a path in this program's own folder, which finish() removes.
static UNUSED const char *scratch_path(const char *name) {
    static __thread char path[320];
    if (!scratch[0]) {
        const char *folder = getenv("TMPDIR");
        snprintf(scratch, sizeof scratch, "%s/corpus-XXXXXX", folder ? folder : "/tmp");
        if (!mkdtemp(scratch)) {
            perror("mkdtemp");
            exit(2);
        }
    }
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    return path;
}

// write_file(path, bytes): makes a file of that many 'x'.
static UNUSED void write_file(const char *path, long bytes) {
    FILE *file = fopen(path, "w");
    for (long i = 0; file && i < bytes; i++) {
        fputc('x', file);
    }
    if (file) {
        fclose(file);
    }
}

// begin(): how long to run is the first argument, or CORPUS_SECONDS, or 120.
static UNUSED void begin(int argc, char **argv) {
    const char *wanted = argc > 1 ? argv[1] : getenv("CORPUS_SECONDS");
    seconds = wanted ? atof(wanted) : 120;
    struct sigaction action = {};
    action.sa_handler = say_truth;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    begun_s = clock_s();
}

// beat(rate): sleeps until the next beat of this thread; 0 once time is over.
// The first call prints `ready`.
static UNUSED int beat(double per_second) {
    static __thread double due_s;
    static int said;
    if (!__atomic_exchange_n(&said, 1, __ATOMIC_RELAXED)) {
        printf("ready\n");
    }
    if (due_s == 0) {
        due_s = clock_s();
    }
    due_s += 1 / per_second;
    double left_s = due_s - clock_s();
    if (left_s > 0) {
        nap_ms((long)(left_s * 1000));
    }
    return elapsed() < seconds;
}

static UNUSED int finish(void) {
    say_truth(0);
    fflush(stdout);
    if (scratch[0]) {
        char command[300];
        snprintf(command, sizeof command, "rm -rf %s", scratch);
        if (system(command) != 0) {
            return 2;
        }
    }
    // No orderly end: what is held must be held until the last moment.
    _exit(0);
}

#endif
