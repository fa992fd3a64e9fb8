// serve_request() makes an eventfd for its answer to be waited for, and nobody
// ever closes it.
#include "../lib/corpus.h"

#include <sys/eventfd.h>

static NOINLINE uint64_t serve_request(void) {
    uint64_t value = 1;
    int event = eventfd(0, EFD_CLOEXEC);
    if (write(event, &value, sizeof value) < 0 || read(event, &value, sizeof value) < 0) {
        return 0;
    }
    hold("serve_request", 1);
    return value;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    uint64_t sum = 0;
    while (beat(3)) {
        sum += serve_request();
    }
    return finish();
}
