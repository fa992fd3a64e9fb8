// open_session() puts every session on a list "for statistics", and nothing
// ever takes one off: all of it stays reachable.
#include "../lib/corpus.h"

#include <list>
#include <memory>

struct Session {
    unsigned number;
    char state[8000];
};

static std::list<std::shared_ptr<Session>> sessions;

static NOINLINE unsigned open_session(unsigned number) {
    auto session = std::make_shared<Session>();
    session->number = number;
    memset(session->state, 1, sizeof session->state);
    sessions.push_back(session);
    hold("open_session", 1);
    return session->number;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    unsigned sum = 0;
    for (unsigned number = 0; beat(40); number++) {
        sum += open_session(number);
    }
    return sessions.empty() ? 1 : finish();
}
