// Each request makes a parent and a child that own one another. drop_links()
// takes the cycle apart; when a request is cancelled nobody calls it.
#include "../lib/corpus.h"

#include <memory>

struct Node {
    std::shared_ptr<Node> other;
    char payload[6000];
};

static NOINLINE std::shared_ptr<Node> make_pair_of_nodes() {
    auto parent = std::make_shared<Node>();
    auto child = std::make_shared<Node>();
    memset(parent->payload, 1, sizeof parent->payload);
    parent->other = child;
    child->other = parent;
    return parent;
}

static void drop_links(const std::shared_ptr<Node> &parent) { parent->other.reset(); }

int main(int argc, char **argv) {
    begin(argc, argv);
    while (beat(50)) {
        for (int i = 0; i < 3; i++) {
            auto parent = make_pair_of_nodes();
            if (one_in(8)) {
                hold("make_pair_of_nodes", 2);
                continue;
            }
            drop_links(parent);
        }
    }
    return finish();
}
