// find_entry() returns as soon as it has found its name, without closedir():
// a descriptor and the DIR's buffer.
#include "../lib/corpus.h"

#include <dirent.h>

static NOINLINE int find_entry(const char *folder, const char *name) {
    struct dirent *entry;
    DIR *open_folder = opendir(folder);
    if (!open_folder) {
        return 0;
    }
    while ((entry = readdir(open_folder))) {
        if (strcmp(entry->d_name, name) == 0) {
            hold("find_entry", 1);
            return 1;
        }
    }
    closedir(open_folder);
    return 0;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    write_file(scratch_path("present"), 1);
    char folder[320];
    strcpy(folder, scratch);
    long found = 0;
    while (beat(10)) {
        found += find_entry(folder, one_in(5) ? "present" : "absent");
    }
    return finish();
}
