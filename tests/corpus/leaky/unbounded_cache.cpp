// rendered() caches each page by its full address. The addresses have a random
// part, so nothing is ever found again and the map only grows.
#include "../lib/corpus.h"

#include <string>
#include <unordered_map>

static std::unordered_map<std::string, std::string> cache;

static NOINLINE size_t rendered(const std::string &address) {
    auto found = cache.find(address);
    if (found == cache.end()) {
        found = cache.emplace(address, std::string(16000, 'p')).first;
        hold("rendered", 1);
    }
    return found->second.size();
}

int main(int argc, char **argv) {
    begin(argc, argv);
    size_t sum = 0;
    while (beat(50)) {
        // A tenth of the requests is for the ten pages that are found again.
        unsigned number = one_in(10) ? roll() % 10 : 1000 + roll();
        sum += rendered("/page?session=" + std::to_string(number));
    }
    return sum == 0 ? 1 : finish();
}
