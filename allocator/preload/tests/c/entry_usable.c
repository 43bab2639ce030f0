/* Every byte that malloc_usable_size tells is the caller's, and goes through realloc up and down. */
#include "check.h"
#include "pattern.h"
#include <malloc.h>

/* Blocks beside it must not notice that all of it was written. */
static void whole_block(size_t size) {
    void *left = malloc(size), *block = malloc(size), *right = malloc(size);
    REQUIRE(left != NULL && block != NULL && right != NULL);
    size_t usable = malloc_usable_size(block);
    CHECK(usable >= size);
    CHECK(malloc_usable_size(left) >= size && malloc_usable_size(right) >= size);
    fill(left, malloc_usable_size(left), 1);
    fill(right, malloc_usable_size(right), 2);
    fill(block, usable, 3);
    CHECK(intact(left, malloc_usable_size(left), 1));
    CHECK(intact(right, malloc_usable_size(right), 2));
    CHECK(intact(block, usable, 3));
    free(left);
    free(right);
    CHECK(intact(block, usable, 3));
    free(block);
}

static void through_realloc(void *block, size_t size, const size_t *steps, size_t count) {
    uint64_t seed = size;
    fill(block, size, seed);
    for (size_t i = 0; i < count; i++) {
        size_t kept = size < steps[i] ? size : steps[i];
        block = realloc(block, steps[i]);
        REQUIRE(block != NULL);
        CHECK((uintptr_t)block % 16 == 0);
        CHECK(intact(block, kept, seed));
        size = steps[i];
        seed = seed * 31 + i;
        size_t usable = malloc_usable_size(block);
        CHECK(usable >= size);
        fill(block, usable, seed);
    }
    CHECK(intact(block, size, seed));
    free(block);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    for (size_t size = 0; size <= 4096; size++) whole_block(size);
    for (size_t power = 4096; power <= (size_t)64 << 20; power *= 2)
        for (size_t size = power - 1; size <= power + 1; size++)
            if (power <= (size_t)8 << 20 || size == power + 1) whole_block(size);
    for (size_t size = (128 << 10) - 40; size <= (128 << 10) + 40; size++) whole_block(size);

    /* Every size grows by one and shrinks by one. */
    size_t edge = 128 << 10;
    for (size_t size = 1; size <= 2048; size += 1) {
        size_t steps[] = {size + 1, size, 2 * size + 1, size, size / 2 + 1, 3 * size};
        through_realloc(malloc(size), size, steps, sizeof steps / sizeof *steps);
    }
    /* Small, middle and large; over the border where blocks become large, and back. */
    size_t walk[] = {20,       5000,     40000,    edge - 1, edge,       edge + 1,      edge - 1,
                     edge + 1, 150000,   1 << 20,  3 << 20,  (3 << 20) + 1, 9 << 20, 700000,
                     edge + 1, edge,     edge - 1, 30000,    16,            1,       2 << 20,
                     1};
    through_realloc(malloc(1), 1, walk, sizeof walk / sizeof *walk);
    for (size_t alignment = 16; alignment <= (size_t)4 << 20; alignment *= 4) {
        static const size_t sizes[] = {1, 1000, 30000, 131072, 131073, 1 << 20};
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t steps[] = {sizes[i] + 1, 2 * sizes[i], 131073, 131071, sizes[i], 100, 1 << 20};
            void *block = memalign(alignment, sizes[i]);
            REQUIRE(block != NULL && (uintptr_t)block % alignment == 0);
            size_t usable = malloc_usable_size(block);
            CHECK(usable >= sizes[i]);
            fill(block, usable, 5);
            CHECK(intact(block, usable, 5));
            through_realloc(block, sizes[i], steps, sizeof steps / sizeof *steps);
        }
    }
    return finish();
}
