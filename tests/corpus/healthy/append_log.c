// Three logs are opened at the start and appended to: they grow, their
// descriptors do not. Attachments are opened by the same function and closed.
#include "../lib/corpus.h"

static NOINLINE int open_for_append(const char *name) {
    return open(scratch_path(name), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int logs[3] = {open_for_append("access"), open_for_append("error"), open_for_append("audit")};
    hold("open_for_append", 3);
    char line[200];
    memset(line, 'l', sizeof line);
    while (beat(20)) {
        int attachment = open_for_append("attachment");
        if (write(logs[roll() % 3], line, sizeof line) < 0 || write(attachment, line, 10) < 0) {
            return 2;
        }
        close(attachment);
    }
    return finish();
}
