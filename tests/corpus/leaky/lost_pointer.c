// handle_message() frees its copy of a message, but the branch for a second
// copy overwrites the only pointer to the first one.
#include "../lib/corpus.h"

static NOINLINE unsigned handle_message(size_t length, int retry) {
    char *copy = malloc(length);
    memset(copy, 'm', length);
    unsigned sum = (unsigned char)copy[length / 2];
    if (retry) {
        hold("handle_message", 1);
        copy = malloc(16);
        memset(copy, 'r', 16);
        sum += (unsigned char)copy[3];
    }
    free(copy);
    return sum;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    unsigned sum = 0;
    while (beat(50)) {
        for (int i = 0; i < 4; i++) {
            sum += handle_message(4096 + roll() % 12288, one_in(10));
        }
    }
    return sum == 1 ? 1 : finish();
}
