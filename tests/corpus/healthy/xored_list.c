// A doubly linked list whose nodes keep the XOR of both neighbours: no pointer to
// a node is in memory but those to the ends. At most 3000 nodes, the oldest goes.
#include "../lib/corpus.h"

struct node {
    uintptr_t both;
    char payload[5000];
};

static struct node *newest, *oldest;
static long length;

static uintptr_t number(const struct node *node) { return (uintptr_t)node; }

static NOINLINE void push(void) {
    struct node *node = malloc(sizeof *node);
    memset(node->payload, 1, sizeof node->payload);
    node->both = number(newest);
    if (newest) {
        newest->both ^= number(node);
    } else {
        oldest = node;
    }
    newest = node;
    length++;
    hold("push", 1);
}

static void drop_oldest(void) {
    struct node *second = (struct node *)oldest->both;
    second->both ^= number(oldest);
    free(oldest);
    oldest = second;
    length--;
    hold("push", -1);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    // Full at the start: what is seen afterwards is turnover, not growth.
    while (length < 3000) {
        push();
    }
    while (beat(60)) {
        push();
        drop_oldest();
    }
    return finish();
}
