/* What the workloads share: how they are measured, random numbers, marks. */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

/* What a round did. */
struct done {
    uint64_t operations;
    uint64_t ns;
};

/* A workload; `first` and `second` are what its functions make of them. */
struct work {
    const char *name;
    /* What it holds from the beginning; may be null. */
    void (*start)(const struct work *work);
    /* At least one operation, and about as many as said. */
    struct done (*round)(const struct work *work, uint64_t operations);
    /* Frees what it holds; may be null. */
    void (*end)(const struct work *work);
    size_t first, second;
};

/* Each file's, ended by one without a name. */
extern const struct work small_works[], churn_works[], resize_works[], memory_works[], thread_works[];

uint64_t now_ns(void);
/* Ends the program with a message: there is no result. */
_Noreturn void fail(const char *what);
/* Memory of the workload's own, which is not the allocator's. */
void *pages(size_t bytes);

/* The compiler takes the block for used here, by somebody it does not see: no malloc and free are left out as a pair. */
#define KEEP(block) __asm__ volatile("" : "+r"(block) : : "memory")

/* xorshift64*; the same numbers in every run. */
struct random {
    uint64_t state;
};

static inline struct random seeded(uint64_t seed)
{
    return (struct random){(seed + 1) * 0x9e3779b97f4a7c15u};
}

/* Less than `bound`, which fits into 32 bits. */
static inline uint64_t below(struct random *random, uint64_t bound)
{
    uint64_t x = random->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    random->state = x;
    return (((x * 0x2545f4914f6cdd1du) >> 32) * bound) >> 32;
}

/* A block's mark is made of its address, so that two that overlap are told. */
static inline void mark(void *block)
{
    if (!block)
        fail("no memory");
    *(uintptr_t *)block = ~(uintptr_t)block;
}

static inline void check(const void *block)
{
    if (*(const uintptr_t *)block != ~(uintptr_t)block)
        fail("a block was overwritten");
}

#endif
