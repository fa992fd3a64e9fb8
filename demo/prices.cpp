// The price service that the shop asks: one line in, one line out, closed.
// Every hundredth question meets it busy.
#include "http.h"

int main() {
    int listener = listen_and_say();
    for (int number = 1;; number++) {
        int client = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (client < 0)
            fail("accept4");
        std::string item = read_until(client, "\n");
        send_all(client, number % 100 == 0 ? "busy\n" : std::to_string(1000 + number % 97) + "\n");
        close(client);
    }
}
