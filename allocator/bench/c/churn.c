/* Random objects are replaced: the caches' misses and the order of blocks count. */
#define _GNU_SOURCE
#include "churn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void draw_sizes(uint32_t sizes[SIZES], enum kind kind)
{
    struct random random = seeded(kind);
    double harmonic = 0;
    for (int n = 1; n <= 128; n++)
        harmonic += 1.0 / n;
    for (int number = 0; number < SIZES; number++) {
        uint32_t base;
        switch (kind) {
        case SMALL:
            sizes[number] = 8 + (uint32_t)below(&random, 501);
            break;
        case DOUBLED:
            base = 8u << below(&random, 12);
            sizes[number] = base + (uint32_t)below(&random, base);
            break;
        case LARGE:
            base = 65536u << below(&random, 5);
            sizes[number] = base + (uint32_t)below(&random, base);
            break;
        case ZIPF: {
            double left = harmonic * (double)below(&random, 1 << 30) / (1 << 30);
            int n = 1;
            for (; n < 128 && left > 1.0 / n; n++)
                left -= 1.0 / n;
            sizes[number] = 16 * (uint32_t)n;
            break;
        }
        }
    }
}

void fill_objects(struct objects *objects, size_t count, const uint32_t *sizes, uint64_t seed)
{
    *objects = (struct objects){pages(count * sizeof(void *)), count, seeded(seed), sizes};
    for (size_t place = 0; place < count; place++) {
        objects->blocks[place] = malloc(sizes[below(&objects->random, SIZES)]);
        mark(objects->blocks[place]);
    }
}

void replace_objects(struct objects *objects, uint64_t operations)
{
    for (uint64_t number = 0; number < operations; number++) {
        void **place = &objects->blocks[below(&objects->random, objects->count)];
        void *block;
        check(*place);
        free(*place);
        block = malloc(objects->sizes[below(&objects->random, SIZES)]);
        mark(block);
        *place = block;
    }
}

void free_objects(struct objects *objects)
{
    for (size_t place = 0; place < objects->count; place++) {
        check(objects->blocks[place]);
        free(objects->blocks[place]);
    }
}

static uint32_t sizes[SIZES];
static struct objects objects;

/* `first` objects of sizes of kind `second`. */
static void start(const struct work *work)
{
    draw_sizes(sizes, (enum kind)work->second);
    fill_objects(&objects, work->first, sizes, 0);
}

static struct done replace(const struct work *work, uint64_t operations)
{
    uint64_t start = now_ns();
    (void)work;
    replace_objects(&objects, operations);
    return (struct done){operations, now_ns() - start};
}

static void end(const struct work *work)
{
    (void)work;
    free_objects(&objects);
}

/* The same with posix_memalign, at multiples of 64 bytes. */
static struct done replace_aligned(const struct work *work, uint64_t operations)
{
    uint64_t start = now_ns();
    (void)work;
    for (uint64_t number = 0; number < operations; number++) {
        void **place = &objects.blocks[below(&objects.random, objects.count)];
        check(*place);
        free(*place);
        if (posix_memalign(place, 64, sizes[below(&objects.random, SIZES)]))
            fail("no memory");
        mark(*place);
    }
    return (struct done){operations, now_ns() - start};
}

/* Every page of a new block is written to. */
static struct done replace_touched(const struct work *work, uint64_t operations)
{
    uint64_t start = now_ns();
    (void)work;
    for (uint64_t number = 0; number < operations; number++) {
        void **place = &objects.blocks[below(&objects.random, objects.count)];
        size_t size = sizes[below(&objects.random, SIZES)];
        char *block;
        check(*place);
        free(*place);
        block = malloc(size);
        mark(block);
        for (size_t page = 4096; page < size; page += 4096)
            block[page] = 1;
        *place = block;
    }
    return (struct done){operations, now_ns() - start};
}

/* What strings are made of. */
static char text[4096];

static void start_strings(const struct work *work)
{
    memset(text, 'x', sizeof text - 1);
    start(work);
}

/* Three in four are copies, the other one is printed. */
static struct done replace_strings(const struct work *work, uint64_t operations)
{
    uint64_t start = now_ns();
    (void)work;
    for (uint64_t number = 0; number < operations; number++) {
        void **place = &objects.blocks[below(&objects.random, objects.count)];
        size_t length = sizes[below(&objects.random, SIZES)] - 1;
        char *string;
        check(*place);
        free(*place);
        if (number % 4) {
            string = strdup(text + sizeof text - 1 - length);
        } else if (asprintf(&string, "%.*s", (int)length, text) < 0) {
            fail("no memory");
        }
        mark(string);
        *place = string;
    }
    return (struct done){operations, now_ns() - start};
}

const struct work churn_works[] = {
    {"churn 10k", start, replace, end, 10000, SMALL},
    {"churn 200k", start, replace, end, 200000, SMALL},
    {"churn 10k to 32 KiB", start, replace, end, 10000, DOUBLED},
    {"churn 10k, aligned to 64", start, replace_aligned, end, 10000, SMALL},
    {"strings 10k Zipf", start_strings, replace_strings, end, 10000, ZIPF},
    {"large 64 KiB–2 MiB", start, replace_touched, end, 16, LARGE},
    {0},
};
