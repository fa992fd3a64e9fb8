// std::map churn: a tree of strings where each step inserts, erases or replaces.
// Usage: map_churn STEPS
#include "measure.h"
#include <map>
#include <string>

int main(int argc, char **argv) {
    long steps = argument(argc, argv, 1, "STEPS");
    uint64_t state = 88172645463325252ULL, sum = 0;
    std::map<uint32_t, std::string> tree;
    for (long i = 0; i < steps; i++) {
        uint64_t random = next_random(&state);
        uint32_t key = (uint32_t)(random >> 48) & 0x7fff;
        if (random & 1)
            tree[key] = std::string(16 + (random & 0x7f), 'x');
        else
            sum += tree.erase(key);
    }
    std::printf("%llu\n", (unsigned long long)(sum + tree.size()));
}
