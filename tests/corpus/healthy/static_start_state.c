// Everything is loaded at the start and used until the end: 150 files and 20 MB
// of tables. After that each request opens and closes one file.
#include "../lib/corpus.h"

static int files[150];
static char *tables[200];

static NOINLINE int open_part(const char *path) { return open(path, O_RDONLY | O_CLOEXEC); }

static NOINLINE char *load_table(size_t bytes) {
    char *table = malloc(bytes);
    memset(table, 3, bytes);
    return table;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    char path[320];
    strcpy(path, scratch_path("part"));
    write_file(path, 100);
    for (int i = 0; i < 150; i++) {
        files[i] = open_part(path);
    }
    for (int i = 0; i < 200; i++) {
        tables[i] = load_table(100000);
    }
    hold("open_part", 150);
    hold("load_table", 200);
    long sum = 0;
    while (beat(10)) {
        int fd = open_part(path);
        sum += tables[roll() % 200][roll() % 100000] + files[roll() % 150];
        close(fd);
    }
    return sum == 0 ? 1 : finish();
}
