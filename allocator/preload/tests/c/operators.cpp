// Every form of operator new and delete that C++20 has, on top of malloc: the library exports none
// of them, so libstdc++'s must find malloc, aligned_alloc and free.
#include "check.h"
#include "pattern.h"
#include <cstdint>
#include <malloc.h>
#include <memory>
#include <new>

static const std::size_t sizes[] = {0,     1,      8,      16,      24,        100,     1000,
                                    32768, 100000, 131072, 131073, 1u << 20, 5u << 20};

static void used(void *block, std::size_t size) {
    REQUIRE(block != nullptr);
    CHECK((std::uintptr_t)block % 16 == 0);
    CHECK(malloc_usable_size(block) >= size);
    fill(block, size, size);
    CHECK(intact(block, size, size));
}

static void plain_forms(std::size_t size) {
    void *block;
    // Single: three deletes for two news.
    block = ::operator new(size), used(block, size), ::operator delete(block);
    block = ::operator new(size), used(block, size), ::operator delete(block, size);
    block = ::operator new(size), used(block, size), ::operator delete(block, std::nothrow);
    block = ::operator new(size, std::nothrow), used(block, size), ::operator delete(block);
    block = ::operator new(size, std::nothrow), used(block, size), ::operator delete(block, size);
    block = ::operator new(size, std::nothrow), used(block, size);
    ::operator delete(block, std::nothrow);
    // Array.
    block = ::operator new[](size), used(block, size), ::operator delete[](block);
    block = ::operator new[](size), used(block, size), ::operator delete[](block, size);
    block = ::operator new[](size), used(block, size), ::operator delete[](block, std::nothrow);
    block = ::operator new[](size, std::nothrow), used(block, size), ::operator delete[](block);
    block = ::operator new[](size, std::nothrow), used(block, size);
    ::operator delete[](block, size);
    block = ::operator new[](size, std::nothrow), used(block, size);
    ::operator delete[](block, std::nothrow);
}

static void aligned_forms(std::size_t size, std::size_t bytes) {
    const auto alignment = std::align_val_t(bytes);
    void *block;
    for (int form = 0; form < 12; form++) {
        switch (form / 3) {
        case 0: block = ::operator new(size, alignment); break;
        case 1: block = ::operator new(size, alignment, std::nothrow); break;
        case 2: block = ::operator new[](size, alignment); break;
        default: block = ::operator new[](size, alignment, std::nothrow); break;
        }
        used(block, size);
        CHECK((std::uintptr_t)block % bytes == 0);
        if (form < 6) {
            switch (form % 3) {
            case 0: ::operator delete(block, alignment); break;
            case 1: ::operator delete(block, size, alignment); break;
            default: ::operator delete(block, alignment, std::nothrow); break;
            }
        } else {
            switch (form % 3) {
            case 0: ::operator delete[](block, alignment); break;
            case 1: ::operator delete[](block, size, alignment); break;
            default: ::operator delete[](block, alignment, std::nothrow); break;
            }
        }
    }
}

template <std::size_t alignment> struct alignas(alignment) Object {
    unsigned char bytes[alignment + 3];
    ~Object() { counted += bytes[0]; }
    static unsigned counted;
};
template <std::size_t alignment> unsigned Object<alignment>::counted = 0;

// What the compiler makes of new and delete expressions, cookies of arrays included.
template <std::size_t alignment> static void expressions() {
    for (int i = 0; i < 50; i++) {
        auto *one = new Object<alignment>;
        CHECK((std::uintptr_t)one % alignment == 0);
        one->bytes[0] = 1;
        delete one;
        auto *many = new Object<alignment>[7];
        CHECK((std::uintptr_t)many % alignment == 0);
        for (int j = 0; j < 7; j++) many[j].bytes[0] = 1;
        delete[] many;
        auto *quiet = new (std::nothrow) Object<alignment>[3];
        REQUIRE(quiet != nullptr);
        for (int j = 0; j < 3; j++) quiet[j].bytes[0] = 1;
        delete[] quiet;
    }
    CHECK(Object<alignment>::counted == 50 * 11);
}

template <typename Call> static bool throws_bad_alloc(Call call) {
    try {
        void *block = call();
        CHECK(block == nullptr);
        return false;
    } catch (const std::bad_alloc &) {
        return true;
    }
}

static int handler_calls;

static void exhaustion() {
    for (std::size_t huge : {SIZE_MAX, SIZE_MAX / 2 + 1, SIZE_MAX / 2, (std::size_t)1 << 50}) {
        huge = hide(huge);
        const auto page = std::align_val_t(4096);
        // libstdc++ rounds a size up to the alignment, and SIZE_MAX to 0.
        const std::size_t rounded = huge & ~(std::size_t)4095;
        CHECK(throws_bad_alloc([&] { return ::operator new(huge); }));
        CHECK(throws_bad_alloc([&] { return ::operator new[](huge); }));
        CHECK(throws_bad_alloc([&] { return ::operator new(rounded, page); }));
        CHECK(throws_bad_alloc([&] { return ::operator new[](rounded, page); }));
        CHECK(::operator new(huge, std::nothrow) == nullptr);
        CHECK(::operator new[](huge, std::nothrow) == nullptr);
        CHECK(::operator new(rounded, page, std::nothrow) == nullptr);
        CHECK(::operator new[](rounded, page, std::nothrow) == nullptr);
        CHECK(throws_bad_alloc([&] { return (void *)new std::uint64_t[huge]; }));
    }
    // A handler is called until it gives up.
    std::set_new_handler([] {
        if (++handler_calls == 3) std::set_new_handler(nullptr);
    });
    CHECK(throws_bad_alloc([] { return ::operator new(hide((std::size_t)1 << 50)); }));
    CHECK(handler_calls == 3);
    // Everything still works.
    plain_forms(100);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    for (std::size_t size : sizes) plain_forms(size);
    for (std::size_t alignment = 1; alignment <= 4096; alignment *= 2)
        for (std::size_t size : sizes) aligned_forms(size, alignment);
    for (std::size_t size : {100u, 70000u}) aligned_forms(size, 1u << 21);
    expressions<1>();
    expressions<8>();
    expressions<16>();
    expressions<32>();
    expressions<64>();
    expressions<256>();
    expressions<1024>();
    expressions<4096>();
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
    ::operator delete(nullptr, std::align_val_t(64));
    exhaustion();
    return finish();
}
