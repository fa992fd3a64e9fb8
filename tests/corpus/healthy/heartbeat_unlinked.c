// A heartbeat file that was unlinked at the start and is written to each
// second, as gunicorn's workers do; uploads without a name come and go.
#include "../lib/corpus.h"

static NOINLINE int nameless_file(void) {
    char path[320];
    strcpy(path, scratch_path("nameless-XXXXXX"));
    int fd = mkostemp(path, O_CLOEXEC);
    unlink(path);
    return fd;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int heartbeats[4];
    for (int i = 0; i < 4; i++) {
        heartbeats[i] = nameless_file();
    }
    hold("nameless_file", 4);
    for (unsigned number = 0; beat(8); number++) {
        if (number % 8 == 0) {
            fchmod(heartbeats[number / 8 % 4], number / 8 % 8 < 4 ? 0600 : 0400);
        }
        int upload = nameless_file();
        if (write(upload, "bytes", 5) < 0) {
            return 2;
        }
        close(upload);
    }
    return finish();
}
