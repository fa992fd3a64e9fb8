// Strings are interned for ever, but there are only 1500 of them. New ones get
// rarer and rarer: growth that bends without a bound in the code.
#include "../lib/corpus.h"

#include <string>
#include <unordered_set>

static std::unordered_set<std::string> names;

static NOINLINE const std::string &intern(const std::string &name) {
    auto [place, fresh] = names.insert(name);
    hold("intern", fresh);
    return *place;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    size_t sum = 0;
    while (beat(100)) {
        sum += intern(std::string(6000, 'n') + std::to_string(roll() % 1500)).size();
    }
    return sum == 0 ? 1 : finish();
}
