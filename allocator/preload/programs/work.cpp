// Work for the compiler, and for the program it makes: containers, strings, threads, exceptions, regular expressions.
#include <algorithm>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <regex>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

static std::string work(unsigned seed) {
    std::map<std::string, std::vector<unsigned>> ordered;
    std::unordered_map<unsigned, std::shared_ptr<std::string>> hashed;
    for (unsigned n = 0; n < 20000; n++) {
        unsigned key = n * seed % 1009;
        ordered["k" + std::to_string(key)].push_back(n);
        auto &slot = hashed[key];
        if (!slot) slot = std::make_shared<std::string>(key % 100, 'x');
        slot->append("y");
    }
    std::size_t sum = 0;
    for (auto &[key, list] : ordered) sum += key.size() * std::accumulate(list.begin(), list.end(), std::size_t{0});
    for (auto &[key, text] : hashed) sum += key * text->size();
    unsigned caught = 0;
    for (unsigned n = 0; n < 500; n++)
        try {
            throw std::runtime_error("number " + std::to_string(n));
        } catch (const std::exception &error) {
            caught += std::regex_match(error.what(), std::regex("number [0-9]*[02468]"));
        }
    return std::to_string(sum) + " " + std::to_string(caught);
}

int main() {
    std::vector<std::future<std::string>> results;
    for (unsigned seed = 1; seed <= 8; seed++) results.push_back(std::async(std::launch::async, work, seed));
    for (auto &result : results) std::cout << result.get() << '\n';
}
