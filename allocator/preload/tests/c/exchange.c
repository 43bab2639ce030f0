/* Eight threads hand blocks to each other: what one allocated another checks, resizes and frees. */
#include "check.h"
#include "pattern.h"
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

enum { threads = 8, slots = 512, rounds = 60000 };

struct block {
    size_t size;
    uint64_t seed;
    unsigned char bytes[];
};

static _Atomic(struct block *) exchange[slots];

static struct block *make(uint64_t *state, int round) {
    /* Mostly small, some middle, few large. */
    uint64_t kind = random_next(state) % 1000;
    size_t size = kind < 950 ? random_next(state) % 600
                  : kind < 998 ? random_next(state) % 40000
                               : random_next(state) % 400000;
    struct block *block;
    switch (round % 4) {
    case 0: block = calloc(1, sizeof *block + size); break;
    case 1: block = memalign((size_t)16 << (round % 9), sizeof *block + size); break;
    default: block = malloc(sizeof *block + size); break;
    }
    REQUIRE(block != NULL);
    if (round % 4 == 0) CHECK(all_zero(block, sizeof *block + size));
    block->size = size;
    block->seed = random_next(state);
    fill(block->bytes, size, block->seed);
    return block;
}

static void end(struct block *block) {
    CHECK(intact(block->bytes, block->size, block->seed));
    free(block);
}

static void *work(void *argument) {
    uint64_t state = 0x9e3779b97f4a7c15u * (uintptr_t)argument;
    for (int round = 0; round < rounds; round++) {
        struct block *mine = make(&state, round);
        struct block *theirs =
            atomic_exchange_explicit(&exchange[random_next(&state) % slots], mine,
                                     memory_order_acq_rel);
        if (theirs == NULL) continue;
        if (round % 7 == 0) {
            size_t size = theirs->size, new_size = random_next(&state) % 2000;
            CHECK(intact(theirs->bytes, size, theirs->seed));
            theirs = realloc(theirs, sizeof *theirs + new_size);
            REQUIRE(theirs != NULL);
            CHECK(intact(theirs->bytes, size < new_size ? size : new_size, theirs->seed));
            theirs->size = new_size;
            fill(theirs->bytes, new_size, theirs->seed);
        }
        end(theirs);
    }
    return NULL;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    pthread_t thread[threads];
    for (uintptr_t i = 0; i < threads; i++)
        REQUIRE(pthread_create(&thread[i], NULL, work, (void *)(i + 1)) == 0);
    for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < slots; i++)
        if (exchange[i] != NULL) end(exchange[i]);
    return finish();
}
