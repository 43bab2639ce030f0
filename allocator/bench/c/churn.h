/* Objects that are replaced at random, and their sizes. */
#ifndef CHURN_H
#define CHURN_H

#include "bench.h"

/* So many sizes are drawn in advance; a power of two. */
enum { SIZES = 4096 };

/* What sizes objects have. */
enum kind {
    SMALL,   /* 8–508 bytes, all as often */
    DOUBLED, /* 8 bytes to 32 KiB, every doubling as often */
    LARGE,   /* 64 KiB–2 MiB, every doubling as often */
    ZIPF,    /* the n-th multiple of 16 bytes 1/n as often as the first, up to 2 KiB */
};

void draw_sizes(uint32_t sizes[SIZES], enum kind kind);

/* Objects of one thread. */
struct objects {
    void **blocks;
    size_t count;
    struct random random;
    const uint32_t *sizes;
};

void fill_objects(struct objects *objects, size_t count, const uint32_t *sizes, uint64_t seed);
void replace_objects(struct objects *objects, uint64_t operations);
void free_objects(struct objects *objects);

#endif
