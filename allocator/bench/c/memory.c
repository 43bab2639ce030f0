/* What becomes of memory whose use changes: the most that is resident is the figure as much as the time. */
#include "bench.h"

#include <stdlib.h>

enum { MOST = 1 << 20 };
static void **blocks;

static void start(const struct work *work)
{
    (void)work;
    blocks = pages(MOST * sizeof(void *));
}

static void fill(size_t from, size_t to, size_t size)
{
    for (size_t place = from; place < to; place++) {
        blocks[place] = malloc(size);
        mark(blocks[place]);
    }
}

/* `first` bytes are filled with blocks of one size, nine in ten are freed, at random, and what they took is filled with
 * blocks of another size; then all is freed. One operation is a malloc or a free. */
static struct done refill(const struct work *work, uint64_t operations)
{
    static const size_t sizes[] = {48, 208, 112, 400, 64, 288};
    static unsigned turn;
    struct random random = seeded(0);
    uint64_t done = 0, start = now_ns();
    do {
        size_t before = sizes[turn % 6], after = sizes[(turn + 1) % 6];
        size_t count = work->first / before, kept = 0, freed = 0;
        turn++;
        fill(0, count, before);
        for (size_t place = 0; place < count; place++) {
            void *block = blocks[place];
            check(block);
            if (below(&random, 10)) {
                free(block);
                freed++;
            } else {
                blocks[kept++] = block;
            }
        }
        size_t more = freed * before / after;
        fill(kept, kept + more, after);
        for (size_t place = 0; place < kept + more; place++) {
            check(blocks[place]);
            free(blocks[place]);
        }
        done += 2 * (count + more);
    } while (done < operations);
    return (struct done){done, now_ns() - start};
}

const struct work memory_works[] = {
    {"fill, free 9/10, refill", start, refill, NULL, 24 << 20, 0},
    {0},
};
