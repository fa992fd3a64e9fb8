// host_uptime() reads a line from a command. If the line is empty it returns
// without pclose(): a pipe end, a FILE and a zombie.
#include "../lib/corpus.h"

static NOINLINE int host_uptime(const char *command) {
    char line[64] = "";
    FILE *output = popen(command, "re");
    if (!output) {
        return -1;
    }
    if (!fgets(line, sizeof line, output) || line[0] == '\n') {
        hold("host_uptime", 1);
        return -1;
    }
    pclose(output);
    return atoi(line);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    long sum = 0;
    while (beat(3)) {
        sum += host_uptime(one_in(3) ? "echo" : "echo 12");
    }
    return finish();
}
