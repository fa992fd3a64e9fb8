// parse_order() has a raw buffer and one `return` too many: an order without
// items leaves before the delete[].
#include "../lib/corpus.h"

static NOINLINE long parse_order(const char *text, size_t length) {
    char *scratch_copy = new char[8192];
    memcpy(scratch_copy, text, length);
    if (scratch_copy[0] == '-') {
        hold("parse_order", 1);
        return 0;
    }
    long items = 0;
    for (size_t i = 0; i < length; i++) {
        items += scratch_copy[i] == ',';
    }
    delete[] scratch_copy;
    return items;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    long items = 0;
    while (beat(50)) {
        for (int i = 0; i < 5; i++) {
            items += one_in(8) ? parse_order("-", 1) : parse_order("a,b,c", 5);
        }
    }
    return items < 0 ? 1 : finish();
}
