// open_session() watches the folder of each new session. Sessions end after a
// second; nobody takes the watch off again. One inotify descriptor in all.
#include "../lib/corpus.h"

#include <sys/inotify.h>

static NOINLINE int open_session(int notifier, unsigned number) {
    char name[32];
    snprintf(name, sizeof name, "session-%u", number);
    const char *folder = scratch_path(name);
    mkdir(folder, 0700);
    int watch = inotify_add_watch(notifier, folder, IN_CREATE | IN_DELETE);
    hold("open_session", 1);
    return watch;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int notifier = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    long sum = 0;
    for (unsigned number = 0; beat(3); number++) {
        sum += open_session(notifier, number);
    }
    return finish();
}
