/* Blocks that grow. */
#include "bench.h"

#include <stdlib.h>

static struct {
    char *block;
    size_t size;
} vectors[64];

/* So many take turns, so that none always lies last. */
enum { VECTORS = 4 };

/* One of the vectors becomes half as long again; at `first` bytes it begins anew. Every page of what is new is written to. */
static struct done grow(const struct work *work, uint64_t operations)
{
    uint64_t start = now_ns();
    for (uint64_t number = 0; number < operations; number++) {
        size_t before = vectors[number % VECTORS].size;
        size_t after = before ? before + before / 2 : 16;
        char *block = vectors[number % VECTORS].block;
        if (after > work->first) {
            check(block);
            free(block);
            block = NULL;
            before = 0;
            after = 16;
        }
        block = realloc(block, after);
        if (!block)
            fail("no memory");
        if (before && *(uintptr_t *)(block + 8) != before)
            fail("realloc has lost what was there");
        mark(block);
        *(uintptr_t *)(block + 8) = after;
        for (size_t page = (before + 4095) & ~(size_t)4095; page < after; page += 4096)
            if (page)
                block[page] = 1;
        vectors[number % VECTORS].block = block;
        vectors[number % VECTORS].size = after;
    }
    return (struct done){operations, now_ns() - start};
}

/* One of the blocks becomes `second` bytes longer; at `first` it begins anew. */
static struct done step(const struct work *work, uint64_t operations)
{
    struct random random = seeded(0);
    uint64_t start = now_ns();
    for (uint64_t number = 0; number < operations; number++) {
        uint64_t turn = below(&random, 64);
        size_t after = vectors[turn].size + work->second;
        char *block = vectors[turn].block;
        if (after > work->first) {
            free(block);
            block = NULL;
            after = work->second;
        }
        if (block)
            check(block);
        block = realloc(block, after);
        if (!block)
            fail("no memory");
        mark(block);
        vectors[turn].block = block;
        vectors[turn].size = after;
    }
    return (struct done){operations, now_ns() - start};
}

static void end(const struct work *work)
{
    (void)work;
    for (size_t number = 0; number < sizeof vectors / sizeof *vectors; number++)
        free(vectors[number].block);
}

const struct work resize_works[] = {
    {"realloc by half to 1 MiB", NULL, grow, end, 1 << 20, 0},
    {"realloc by 32 B to 4 KiB", NULL, step, end, 4096, 32},
    {0},
};
