// Starting a program and waiting for its end. Usage: start_up COUNT MODE [PRELOAD]
//   cpu     user and system time of /bin/true, from fork to exit
//   wall    median time between posix_spawn and the end of the wait
//   storm   fork, exec and wait as a preloaded shell would do it: CPU of both
// In cpu and wall only the child has LD_PRELOAD (the argument).
#define _GNU_SOURCE
#include "measure.h"
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char *const command[] = {"/bin/true", NULL};

static uint64_t cpu_of(int who) {
    struct rusage usage;
    getrusage(who, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000ULL +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000ULL;
}

static void wait_for(pid_t child) {
    int status;
    must(waitpid(child, &status, 0) == child && status == 0, "waitpid");
}

static void spawn_once(char **environment) {
    pid_t child;
    must(posix_spawn(&child, command[0], NULL, NULL, command, environment) == 0, "posix_spawn");
    wait_for(child);
}

static void fork_once(void) {
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        execv(command[0], command);
        _exit(127);
    }
    wait_for(child);
}

static int by_value(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void print_median_wall(long count, char **environment) {
    uint64_t *times = calloc((size_t)count, sizeof *times);
    must(times != NULL, "calloc");
    for (long i = 0; i < count; i++) {
        uint64_t start = clock_ns(CLOCK_MONOTONIC);
        spawn_once(environment);
        times[i] = clock_ns(CLOCK_MONOTONIC) - start;
    }
    qsort(times, (size_t)count, sizeof *times, by_value);
    print_result(times[count / 2], 1);
}

int main(int argc, char **argv) {
    long count = argument(argc, argv, 1, "COUNT");
    const char *mode = argc > 2 ? argv[2] : "";
    char preload[4096];
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", argc > 3 ? argv[3] : "");
    char *environment[] = {preload, "PATH=/usr/bin:/bin", NULL};
    if (strcmp(mode, "wall") == 0) {
        print_median_wall(count, environment);
        return 0;
    }
    int storm = strcmp(mode, "storm") == 0;
    must(storm || strcmp(mode, "cpu") == 0, "MODE must be cpu, wall or storm");
    uint64_t before = cpu_of(RUSAGE_CHILDREN) + (storm ? cpu_of(RUSAGE_SELF) : 0);
    for (long i = 0; i < count; i++)
        storm ? fork_once() : spawn_once(environment);
    uint64_t after = cpu_of(RUSAGE_CHILDREN) + (storm ? cpu_of(RUSAGE_SELF) : 0);
    print_result(after - before, (uint64_t)count);
    return 0;
}
