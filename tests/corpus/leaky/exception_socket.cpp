// call_service() throws when the answer is too short, past its close(). The
// upstream keeps the connection, so it stays ESTABLISHED.
#include "../lib/peers.h"

#include <stdexcept>

static NOINLINE long call_service(int port, bool strict) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    connect_to(fd, port);
    say(fd, "call\n");
    long length = read_some(fd);
    if (strict && length < 100) {
        throw std::length_error("short answer");
    }
    close(fd);
    return length;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int port = upstream(answer_and_stay);
    long sum = 0;
    while (beat(10)) {
        try {
            sum += call_service(port, one_in(6));
        } catch (const std::length_error &) {
            hold("call_service", 1);
        }
    }
    return sum < 0 ? 1 : finish();
}
