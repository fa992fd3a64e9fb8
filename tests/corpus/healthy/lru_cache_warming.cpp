// A bounded LRU cache that warms up for about 50 seconds, and then drops an entry
// for each new one.
#include "../lib/corpus.h"

#include <list>
#include <string>
#include <unordered_map>

using Entry = std::pair<unsigned, std::string>;
static std::list<Entry> entries;
static std::unordered_map<unsigned, std::list<Entry>::iterator> places;

static NOINLINE size_t cached(unsigned key) {
    auto found = places.find(key);
    if (found != places.end()) {
        entries.splice(entries.begin(), entries, found->second);
        return found->second->second.size();
    }
    entries.emplace_front(key, std::string(8000, 'v'));
    places[key] = entries.begin();
    if (entries.size() > 2000) {
        places.erase(entries.back().first);
        entries.pop_back();
    } else {
        hold("cached", 1);
    }
    return 8000;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    size_t sum = 0;
    while (beat(60)) {
        sum += cached(roll() % 20000);
    }
    return sum == 0 ? 1 : finish();
}
