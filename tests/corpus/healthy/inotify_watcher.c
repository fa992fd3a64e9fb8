// Sixty folders are watched from the start until the end; a short-lived watch on
// a folder of uploads is put on and taken off each time.
#include "../lib/corpus.h"

#include <sys/inotify.h>

static NOINLINE int watch(int notifier, const char *folder) {
    return inotify_add_watch(notifier, folder, IN_CREATE | IN_CLOSE_WRITE);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int notifier = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    for (int i = 0; i < 60; i++) {
        char name[32];
        snprintf(name, sizeof name, "watched-%d", i);
        mkdir(scratch_path(name), 0700);
        watch(notifier, scratch_path(name));
    }
    hold("watch", 60);
    const char *uploads = scratch_path("uploads");
    mkdir(uploads, 0700);
    char events[4096];
    while (beat(5)) {
        int short_lived = watch(notifier, uploads);
        while (read(notifier, events, sizeof events) > 0) {
        }
        inotify_rm_watch(notifier, short_lived);
    }
    return finish();
}
