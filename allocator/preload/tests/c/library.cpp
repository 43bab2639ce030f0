// The C++ library at work on it: containers, memory resources, shared pointers across threads,
// exceptions.
#include "check.h"
#include <any>
#include <atomic>
#include <deque>
#include <functional>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <numeric>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

static void containers() {
    std::map<std::string, std::vector<int>> tree;
    std::unordered_map<std::string, std::string> table;
    std::list<std::unique_ptr<int>> list;
    std::deque<std::string> queue;
    std::set<std::pair<int, std::string>> set;
    for (int i = 0; i < 20000; i++) {
        std::string key = "key number " + std::to_string(i * 7919 % 20000);
        tree[key].push_back(i);
        table[key] += std::string(i % 200, 'x');
        if (i % 3 == 0) list.push_back(std::make_unique<int>(i));
        if (i % 5 == 0) list.pop_front();
        queue.push_back(key);
        if (i % 2 == 0) queue.pop_front();
        set.emplace(i % 1000, key);
    }
    CHECK(tree.size() == 20000 && table.size() == 20000 && set.size() == 20000);
    std::size_t letters = 0;
    for (auto &[key, value] : table) {
        CHECK(value.find_first_not_of('x') == std::string::npos);
        letters += value.size();
    }
    CHECK(letters == 100u * 199 * 100);
    for (int i = 0; i < 20000; i += 2) tree.erase("key number " + std::to_string(i));
    CHECK(tree.size() == 10000);

    std::vector<int> grown;
    for (int i = 0; i < 3000000; i++) grown.push_back(i);
    CHECK(std::accumulate(grown.begin(), grown.end(), 0ll) == 2999999ll * 1500000);
    grown.resize(100);
    grown.shrink_to_fit();
    CHECK(grown[99] == 99);

    std::ostringstream stream;
    for (int i = 0; i < 10000; i++) stream << i << ' ';
    std::istringstream back(stream.str());
    long long sum = 0;
    for (int number; back >> number;) sum += number;
    CHECK(sum == 9999ll * 5000);
}

static void resources() {
    std::pmr::unsynchronized_pool_resource pool;
    std::pmr::synchronized_pool_resource shared;
    std::pmr::monotonic_buffer_resource monotonic(1000);
    for (std::pmr::memory_resource *resource :
         {(std::pmr::memory_resource *)&pool, (std::pmr::memory_resource *)&shared,
          (std::pmr::memory_resource *)&monotonic, std::pmr::new_delete_resource()}) {
        std::pmr::map<int, std::pmr::string> map(resource);
        for (int i = 0; i < 3000; i++) map[i] = std::pmr::string(i % 300, 'p');
        for (int i = 0; i < 3000; i++) CHECK(map[i].size() == (std::size_t)i % 300);
        // Alignments beyond max_align_t go through the aligned forms.
        for (std::size_t alignment = 1; alignment <= 4096; alignment *= 2) {
            void *block = resource->allocate(100, alignment);
            // The pools of libstdc++ 12 cut their chunks without regard to it.
            if (resource != &pool && resource != &shared)
                CHECK((std::uintptr_t)block % alignment == 0);
            resource->deallocate(block, 100, alignment);
        }
    }
}

struct Node : std::enable_shared_from_this<Node> {
    std::vector<std::shared_ptr<Node>> children;
    std::weak_ptr<Node> parent;
    std::string name;
    static std::atomic<int> alive;
    explicit Node(std::string name) : name(std::move(name)) { alive++; }
    ~Node() { alive--; }
};
std::atomic<int> Node::alive;

static void shared_across_threads() {
    for (int round = 0; round < 20; round++) {
        auto root = std::make_shared<Node>("root");
        std::vector<std::future<std::shared_ptr<Node>>> parts;
        for (int thread = 0; thread < 4; thread++)
            parts.push_back(std::async(std::launch::async, [root, thread] {
                auto part = std::make_shared<Node>("part " + std::to_string(thread));
                part->parent = root;
                for (int i = 0; i < 500; i++) {
                    part->children.push_back(std::make_shared<Node>(std::string(i % 100, 'n')));
                    part->children.back()->parent = part;
                }
                return part;
            }));
        for (auto &part : parts) root->children.push_back(part.get());
        // Each subtree dies in another thread than the one that made it.
        std::vector<std::thread> enders;
        for (auto &part : root->children)
            enders.emplace_back([part = std::move(part)]() mutable { part.reset(); });
        root.reset();
        for (auto &ender : enders) ender.join();
        CHECK(Node::alive == 0);
    }
}

struct Heavy : std::runtime_error {
    std::vector<char> load;
    explicit Heavy(std::size_t size) : std::runtime_error(std::string(300, 'e')), load(size, 'l') {}
};

static int recurse(int depth, std::size_t size) {
    std::string local(size, 'x');
    if (depth == 0) throw Heavy(size);
    return recurse(depth - 1, size) + (int)local.size();
}

static void exceptions() {
    std::vector<std::thread> threads;
    std::atomic<int> caught{0};
    for (int thread = 0; thread < 4; thread++)
        threads.emplace_back([&caught] {
            for (int i = 0; i < 1000; i++) {
                try {
                    recurse(i % 20, 10 + (std::size_t)i * 7 % 5000);
                } catch (const Heavy &heavy) {
                    CHECK(heavy.load.back() == 'l' && strlen(heavy.what()) == 300);
                    caught++;
                }
            }
        });
    for (auto &thread : threads) thread.join();
    CHECK(caught == 4000);
    // One that outlives its thread.
    std::exception_ptr kept;
    std::thread([&kept] {
        try {
            throw Heavy(100000);
        } catch (...) {
            kept = std::current_exception();
        }
    }).join();
    try {
        std::rethrow_exception(kept);
    } catch (const Heavy &heavy) {
        CHECK(heavy.load.size() == 100000);
    }
    // A constructor that throws gives its memory back through the matching delete.
    struct Thrower {
        alignas(64) char bytes[200];
        Thrower() { throw 1; }
    };
    for (int i = 0; i < 1000; i++) {
        try {
            delete new Thrower;
        } catch (int) {
        }
        try {
            delete[] new Thrower[5];
        } catch (int) {
        }
    }
}

// Built before main and destroyed after it.
static std::map<std::string, std::function<int(int)>> early = {
    {"twice", [](int i) { return 2 * i; }},
    {"more", [text = std::string(100, 'x')](int i) { return i + (int)text.size(); }},
};
static thread_local std::string own(1000, 't');

int main(int argc, char **argv) {
    begin(argc, argv);
    CHECK(early["twice"](4) == 8 && early["more"](4) == 104);
    containers();
    resources();
    shared_across_threads();
    exceptions();
    for (int i = 0; i < 100; i++)
        std::thread([] {
            own += "more";
            CHECK(own.size() == 1004);
        }).join();
    std::any any = std::string(1000, 'a');
    std::optional<std::vector<int>> optional(std::in_place, 1000, 7);
    CHECK(std::any_cast<std::string &>(any).size() == 1000 && optional->back() == 7);
    return finish();
}
