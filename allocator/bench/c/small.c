/* Few blocks at a time: what the shortest way costs. */
#include "bench.h"

#include <stdlib.h>

/* malloc and free of `first` bytes. */
static struct done pair(const struct work *work, uint64_t operations)
{
    uint64_t start = now_ns();
    for (uint64_t number = 0; number < operations; number++) {
        void *block = malloc(work->first);
        KEEP(block);
        *(volatile char *)block = 1;
        free(block);
    }
    return (struct done){operations, now_ns() - start};
}

/* calloc and free of `first` bytes, of which the first and the last are looked at and written to. */
static struct done zeroed(const struct work *work, uint64_t operations)
{
    uint64_t start = now_ns();
    for (uint64_t number = 0; number < operations; number++) {
        char *block = calloc(1, work->first);
        KEEP(block);
        if (!block || block[0] || block[work->first - 1])
            fail("calloc");
        block[0] = block[work->first - 1] = 1;
        free(block);
    }
    return (struct done){operations, now_ns() - start};
}

enum { BATCH = 1000 };
static void *blocks[BATCH];

/* `first` bytes; `second`: the last one is freed first. */
static struct done batches(const struct work *work, uint64_t operations)
{
    uint64_t batches = operations / BATCH + 1, start = now_ns();
    for (uint64_t batch = 0; batch < batches; batch++) {
        for (int number = 0; number < BATCH; number++) {
            void *block = malloc(work->first);
            mark(block);
            blocks[number] = block;
        }
        for (int number = 0; number < BATCH; number++) {
            void *block = blocks[work->second ? BATCH - 1 - number : number];
            check(block);
            free(block);
        }
    }
    return (struct done){batches * BATCH, now_ns() - start};
}

const struct work small_works[] = {
    {"pair 16 B", NULL, pair, NULL, 16, 0},
    {"pair 64 B", NULL, pair, NULL, 64, 0},
    {"pair 256 B", NULL, pair, NULL, 256, 0},
    {"pair 1024 B", NULL, pair, NULL, 1024, 0},
    {"pair 8192 B", NULL, pair, NULL, 8192, 0},
    {"LIFO 1000", NULL, batches, NULL, 64, 1},
    {"FIFO 1000", NULL, batches, NULL, 64, 0},
    {"calloc 64 B", NULL, zeroed, NULL, 64, 0},
    {"calloc 1024 B", NULL, zeroed, NULL, 1024, 0},
    {"calloc 64 KiB", NULL, zeroed, NULL, 64 << 10, 0},
    {0},
};
