/* calloc's memory is zero although what lay there before was full of ones. */
#include "check.h"
#include "pattern.h"
#include <malloc.h>

enum { held = 8 };

/* Dirty blocks of the size are freed just before, and are what calloc finds. */
static void after_dirty_reuse(size_t size, int rounds) {
    for (int round = 0; round < rounds; round++) {
        void *blocks[held];
        for (int i = 0; i < held; i++) {
            blocks[i] = malloc(size);
            REQUIRE(blocks[i] != NULL);
            memset(blocks[i], 0xff, malloc_usable_size(blocks[i]));
        }
        for (int i = 0; i < held; i++) free(blocks[i]);
        for (int i = 0; i < held; i++) {
            blocks[i] = i % 2 ? calloc(1, size) : calloc(size, 1);
            REQUIRE(blocks[i] != NULL);
            CHECK(all_zero(blocks[i], size));
            memset(blocks[i], 0xff, size);
        }
        for (int i = 0; i < held; i++) free(blocks[i]);
    }
}

/* Superblocks that became empty go to other classes, and large blocks to other sizes. */
static void across_sizes(void) {
    uint64_t state = 88172645463325252u;
    enum { slots = 64 };
    void *blocks[slots] = {0};
    for (int i = 0; i < 6000; i++) {
        size_t slot = random_next(&state) % slots;
        free(blocks[slot]);
        size_t size = (size_t)1 << (random_next(&state) % 19);
        size += random_next(&state) % size;
        if (i % 2) {
            blocks[slot] = calloc(1, size);
            REQUIRE(blocks[slot] != NULL);
            CHECK(all_zero(blocks[slot], size));
        } else {
            blocks[slot] = malloc(size);
            REQUIRE(blocks[slot] != NULL);
        }
        memset(blocks[slot], 0xff, malloc_usable_size(blocks[slot]));
        if (i % 1000 == 999) malloc_trim(0);
    }
    for (int i = 0; i < slots; i++) free(blocks[i]);
}

/* After a block shrank in place its rest is dirty. */
static void after_realloc(void) {
    for (size_t size = 64; size <= (size_t)2 << 20; size *= 2) {
        char *block = malloc(size);
        REQUIRE(block != NULL);
        memset(block, 0xff, size);
        block = realloc(block, size / 2);
        REQUIRE(block != NULL);
        free(block);
        block = calloc(1, size);
        REQUIRE(block != NULL);
        CHECK(all_zero(block, size));
        free(block);
    }
}

int main(int argc, char **argv) {
    begin(argc, argv);
    for (size_t size = 0; size <= 2200; size++) after_dirty_reuse(size, 2);
    for (size_t size = 2200; size <= (size_t)256 << 10; size += size / 24) after_dirty_reuse(size, 2);
    for (size_t size = (size_t)256 << 10; size <= (size_t)8 << 20; size += size / 3)
        after_dirty_reuse(size, 1);
    after_dirty_reuse((size_t)8 << 20, 1);
    across_sizes();
    after_realloc();
    return finish();
}
