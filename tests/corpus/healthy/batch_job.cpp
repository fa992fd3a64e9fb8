// Nearly nothing happens, and every 20 seconds a batch: for six seconds it opens
// files and collects rows, then all of it is given back.
#include "../lib/corpus.h"

#include <string>
#include <vector>

static NOINLINE int open_source(const char *path) {
    hold("open_source", 1);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static NOINLINE std::string read_row() {
    hold("read_row", 1);
    return std::string(20000, 'r');
}

int main(int argc, char **argv) {
    begin(argc, argv);
    std::string path = scratch_path("source");
    write_file(path.c_str(), 100);
    std::vector<int> sources;
    std::vector<std::string> rows;
    while (beat(20)) {
        if (static_cast<int>(elapsed()) % 20 < 6) {
            sources.push_back(open_source(path.c_str()));
            rows.push_back(read_row());
            continue;
        }
        for (int source : sources) {
            close(source);
        }
        hold("open_source", -static_cast<long>(sources.size()));
        hold("read_row", -static_cast<long>(rows.size()));
        sources.clear();
        rows.clear();
    }
    return finish();
}
