// A queue is filled for twelve seconds and then drained at once, again and again.
#include "../lib/corpus.h"

struct item {
    struct item *next;
    char payload[7000];
};

static NOINLINE struct item *enqueue(struct item *queue) {
    struct item *item = malloc(sizeof *item);
    memset(item->payload, 1, sizeof item->payload);
    item->next = queue;
    hold("enqueue", 1);
    return item;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    struct item *queue = NULL;
    double drained_s = 0;
    while (beat(100)) {
        queue = enqueue(queue);
        if (elapsed() - drained_s < 12) {
            continue;
        }
        drained_s = elapsed();
        while (queue) {
            struct item *next = queue->next;
            free(queue);
            queue = next;
            hold("enqueue", -1);
        }
    }
    return finish();
}
