// Eight threads live as long as the program and take tasks from a queue; once in
// ten seconds a batch of four extra threads helps for three.
#include "../lib/corpus.h"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <queue>
#include <thread>
#include <vector>

static std::mutex guard;
static std::condition_variable filled;
static std::queue<std::function<void()>> tasks;

static void work(double until_s) {
    while (elapsed() < until_s) {
        std::unique_lock<std::mutex> lock(guard);
        if (!filled.wait_for(lock, std::chrono::milliseconds(500), [] { return !tasks.empty(); })) {
            continue;
        }
        auto task = std::move(tasks.front());
        tasks.pop();
        lock.unlock();
        task();
    }
}

static NOINLINE std::thread start_thread(double until_s) { return std::thread(work, until_s); }

int main(int argc, char **argv) {
    begin(argc, argv);
    std::vector<std::thread> pool, extra;
    for (int i = 0; i < 8; i++) {
        pool.push_back(start_thread(1e9));
    }
    hold("start_thread", 8);
    double helped_s = 0;
    while (beat(30)) {
        {
            std::lock_guard<std::mutex> lock(guard);
            tasks.push([text = std::string(3000, 't')] { nap_ms((long)text.size() / 1000); });
        }
        filled.notify_one();
        if (elapsed() - helped_s > 10) {
            helped_s = elapsed();
            for (auto &thread : extra) {
                thread.join();
            }
            extra.clear();
            for (int i = 0; i < 4; i++) {
                extra.push_back(start_thread(elapsed() + 3));
            }
        }
    }
    finish();
}
