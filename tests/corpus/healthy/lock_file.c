// A lock file is taken at the start and held; each job takes a lock of its own
// by the same function, some for nine seconds.
#include "../lib/corpus.h"

#include <sys/file.h>

static struct {
    int fd;
    double until_s;
} slow[64];

static NOINLINE int take_lock(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return -1;
    }
    hold("take_lock", 1);
    return fd;
}

static void give_back(int fd) {
    close(fd);
    hold("take_lock", -1);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int program = take_lock(scratch_path("program.lock"));
    for (unsigned number = 0; beat(5) && program >= 0; number++) {
        char name[32];
        snprintf(name, sizeof name, "job-%u.lock", number % 64);
        unsigned slot = number % 64;
        int fd = take_lock(scratch_path(name));
        if (fd >= 0 && one_in(8)) {
            slow[slot].fd = fd;
            slow[slot].until_s = elapsed() + 9;
        } else if (fd >= 0) {
            give_back(fd);
        }
        for (int i = 0; i < 64; i++) {
            if (slow[i].fd && elapsed() > slow[i].until_s) {
                give_back(slow[i].fd);
                slow[i].fd = 0;
            }
        }
    }
    return finish();
}
