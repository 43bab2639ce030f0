/* Blocks that grow. */
#include "bench.h"

#include <stdlib.h>

/* So many take turns, so that none always lies last. */
enum { VECTORS = 4 };
static struct {
    char *block;
    size_t size;
} vectors[VECTORS];

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

static void end(const struct work *work)
{
    (void)work;
    for (int number = 0; number < VECTORS; number++)
        free(vectors[number].block);
}

const struct work resize_works[] = {
    {"realloc by half to 1 MiB", NULL, grow, end, 1 << 20, 0},
    {0},
};
