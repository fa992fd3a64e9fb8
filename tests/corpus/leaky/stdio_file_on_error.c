// read_header() forgets its FILE when the magic number is wrong: a descriptor,
// the FILE and its buffer with it.
#include "../lib/corpus.h"

static NOINLINE int read_header(const char *path) {
    char magic[4] = "";
    FILE *file = fopen(path, "rb");
    if (!file) {
        return -1;
    }
    if (fread(magic, 1, 4, file) != 4 || memcmp(magic, "CRPS", 4) != 0) {
        hold("read_header", 1);
        return -1;
    }
    fclose(file);
    return 0;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    char good[320], bad[320];
    strcpy(good, scratch_path("good.bin"));
    strcpy(bad, scratch_path("bad.bin"));
    FILE *file = fopen(good, "w");
    fputs("CRPS and the rest", file);
    fclose(file);
    write_file(bad, 40);
    long failed = 0;
    while (beat(10)) {
        failed += read_header(one_in(4) ? bad : good) != 0;
    }
    return finish();
}
