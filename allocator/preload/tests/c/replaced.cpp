// A program that replaces only the plain pair, as the standard lets it: the array, the sized and the
// nothrow forms must reach it. They would not if the preloaded library had operators of its own.
#include "check.h"
#include <new>
#include <string>
#include <vector>

static int news, deletes;

// Not inlined, since the compiler would see through them and object.
[[gnu::noinline]] void *operator new(std::size_t size) {
    news++;
    void *block = std::malloc(size + 16);
    if (block == nullptr) throw std::bad_alloc();
    // So that a delete of something else is noticed.
    *static_cast<std::size_t *>(block) = 0x6c66616c6c6f63;
    return static_cast<char *>(block) + 16;
}

// The sized form is left out on purpose.
#pragma GCC diagnostic ignored "-Wsized-deallocation"
[[gnu::noinline]] void operator delete(void *block) noexcept {
    if (block == nullptr) return;
    deletes++;
    void *begin = static_cast<char *>(block) - 16;
    CHECK(*static_cast<std::size_t *>(begin) == 0x6c66616c6c6f63);
    *static_cast<std::size_t *>(begin) = 0;
    std::free(begin);
}

#define REACHES(allocate, release)                                   \
    do {                                                             \
        int news_before = news, deletes_before = deletes;            \
        void *block = (allocate);                                    \
        CHECK(news == news_before + 1 && #allocate);                 \
        memset(block, 0x5a, 100);                               \
        release;                                                     \
        CHECK(deletes == deletes_before + 1 && #release);            \
    } while (0)

int main(int argc, char **argv) {
    begin(argc, argv);
    for (int i = 0; i < 1000; i++) {
        REACHES(::operator new(100), ::operator delete(block));
        REACHES(::operator new(100), ::operator delete(block, 100));
        REACHES(::operator new(100), ::operator delete(block, std::nothrow));
        REACHES(::operator new(100, std::nothrow), ::operator delete(block));
        REACHES(::operator new[](100), ::operator delete[](block));
        REACHES(::operator new[](100), ::operator delete[](block, 100));
        REACHES(::operator new[](100, std::nothrow), ::operator delete[](block));
        REACHES(::operator new[](100, std::nothrow), ::operator delete[](block, std::nothrow));
    }
    int before = news - deletes;
    {
        // What libstdc++ has compiled in uses them, too.
        std::vector<std::string> strings(1000, std::string(100, 's'));
        CHECK(news - deletes >= before + 1001);
    }
    CHECK(news - deletes == before);
    // The aligned forms are another family, which was not replaced.
    int untouched = news;
    void *block = ::operator new(100, std::align_val_t(64));
    CHECK(news == untouched);
    ::operator delete(block, std::align_val_t(64));
    return finish();
}
