// A small shop: the demo's leaky web service. Usage: shop UPSTREAM_PORT FOLDER
//
//   GET /quote/ITEM   asks the price service, keeps the page in a cache
//   GET /order/ID     writes the order into a file of its own
//
// It works, and it forgets three things, each in a way real services do:
//   - the socket to the price service, when that one is busy (ask_price)
//   - the order's file, when the order is refused (write_order)
//   - pages of the cache, which nothing ever takes out (PageCache)
#include "http.h"

#include <fcntl.h>

#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

static int upstream_port;
static std::string folder;

struct Page {
    std::string body;
};

class PageCache {
    std::mutex lock;
    std::unordered_map<std::string, std::unique_ptr<Page>> pages;

public:
    const Page &render(const std::string &item, int price) {
        std::lock_guard<std::mutex> held(lock);
        auto &page = pages[item]; // no limit, no age: every item stays for ever
        if (!page)
            page = std::make_unique<Page>(Page{"item " + item + ": " + std::to_string(price) + "\n" + std::string(8000, '.')});
        return *page;
    }
};

static PageCache cache;

static std::optional<int> ask_price(const std::string &item) {
    sockaddr_in address = loopback(upstream_port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0)
        fail("connect");
    send_all(fd, item + "\n");
    std::string answer = read_until(fd, "\n");
    if (answer == "busy")
        return std::nullopt; // forgot close(fd)
    close(fd);
    return std::atoi(answer.c_str());
}

static bool write_order(int number) {
    std::string path = folder + "/order-" + std::to_string(number) + ".txt";
    int fd = open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0)
        fail("open");
    if (number % 50 == 0)
        return false; // refused; forgot close(fd)
    dprintf(fd, "order %d\n", number);
    close(fd);
    return true;
}

static void handle_quote(int client, const std::string &item) {
    auto price = ask_price(item);
    if (price)
        send_page(client, "200 OK", cache.render(item, *price).body);
    else
        send_page(client, "503 Service Unavailable", "the price service is busy\n");
}

static void handle_order(int client, const std::string &id) {
    bool taken = write_order(std::atoi(id.c_str()));
    send_page(client, taken ? "200 OK" : "409 Conflict", taken ? "taken\n" : "refused\n");
}

static void handle_request(int client, const std::string &head) {
    std::string path = head.substr(4, head.find(' ', 4) - 4);
    if (path.rfind("/quote/", 0) == 0)
        handle_quote(client, path.substr(7));
    else if (path.rfind("/order/", 0) == 0)
        handle_order(client, path.substr(7));
    else
        send_page(client, "404 Not Found", "only /quote/ITEM and /order/ID\n");
}

static void serve(int listener) {
    for (;;) {
        int client = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (client < 0)
            fail("accept4");
        for (std::string head; (head = read_until(client, "\r\n\r\n")).rfind("GET ", 0) == 0;)
            handle_request(client, head);
        close(client);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: shop UPSTREAM_PORT FOLDER\n");
        return 2;
    }
    upstream_port = std::atoi(argv[1]);
    folder = argv[2];
    int listener = listen_and_say();
    std::vector<std::thread> workers;
    for (int i = 0; i < 4; i++)
        workers.emplace_back(serve, listener);
    for (auto &worker : workers)
        worker.join();
}
