// receive_upload() writes to a file without a name. An upload that is aborted
// leaves it open: disk space that no `ls` shows.
#include "../lib/corpus.h"

static NOINLINE int receive_upload(int aborted) {
    char path[320], block[4096] = "";
    strcpy(path, scratch_path("upload-XXXXXX"));
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    unlink(path);
    for (int i = 0; i < 8; i++) {
        if (write(fd, block, sizeof block) < 0) {
            break;
        }
    }
    if (aborted) {
        hold("receive_upload", 1);
        return -1;
    }
    close(fd);
    return 0;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    long aborted = 0;
    while (beat(10)) {
        aborted += receive_upload(one_in(5)) != 0;
    }
    return finish();
}
