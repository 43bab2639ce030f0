/* Zero sizes, alignment, errno, realloc's edges: what every call of <stdlib.h> promises. */
#include "check.h"
#include "pattern.h"
#include <errno.h>
#include <malloc.h>

static void zero_sizes(void) {
    void *blocks[400];
    size_t count = 0;
    for (int i = 0; i < 100; i++) {
        blocks[count++] = malloc(hide(0));
        blocks[count++] = calloc(hide(0), hide(8));
        blocks[count++] = calloc(hide(8), hide(0));
        blocks[count++] = realloc(NULL, hide(0));
    }
    for (size_t i = 0; i < count; i++) {
        CHECK(blocks[i] != NULL);
        for (size_t j = 0; j < i; j++) CHECK(blocks[i] != blocks[j]);
    }
    for (size_t i = 0; i < count; i++) free(blocks[i]);

    void *block = NULL;
    CHECK(posix_memalign(&block, 64, hide(0)) == 0);
    CHECK(block != NULL && (uintptr_t)block % 64 == 0);
    free(block);
    block = aligned_alloc(64, hide(0));
    CHECK(block != NULL && (uintptr_t)block % 64 == 0);
    free(block);
}

static void sixteen_bytes(void) {
    for (size_t size = 0; size <= 5000; size++) {
        void *a = malloc(size), *b = calloc(1, size), *c = realloc(malloc(3), size + 1);
        CHECK(a != NULL && (uintptr_t)a % 16 == 0);
        CHECK(b != NULL && (uintptr_t)b % 16 == 0);
        CHECK(c != NULL && (uintptr_t)c % 16 == 0);
        free(a);
        free(b);
        free(c);
    }
    for (size_t size = 4096; size < (size_t)32 << 20; size += size / 7 + 1) {
        void *a = malloc(size);
        CHECK(a != NULL && (uintptr_t)a % 16 == 0);
        free(a);
    }
}

static void errno_is_left_alone(void) {
    static const size_t sizes[] = {0, 1, 100, 40000, 200000, 1 << 20, 48 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        errno = 4711;
        void *block = malloc(hide(sizes[i]));
        CHECK(block != NULL && errno == 4711);
        block = realloc(block, hide(2 * sizes[i] + 1));
        CHECK(block != NULL && errno == 4711);
        free(block);
        CHECK(errno == 4711);
        block = calloc(1, hide(sizes[i]));
        CHECK(block != NULL && errno == 4711);
        free(block);
        CHECK(errno == 4711);
        CHECK(posix_memalign(&block, 8192, sizes[i]) == 0 && errno == 4711);
        free(block);
        CHECK(errno == 4711);
    }
    free(NULL);
    CHECK(errno == 4711);
    CHECK(malloc_usable_size(NULL) == 0 && errno == 4711);
    /* Many at once, so that superblocks are mapped and given back in between. */
    enum { many = 20000 };
    static void *blocks[many];
    for (int i = 0; i < many; i++) blocks[i] = malloc(1000);
    CHECK(errno == 4711);
    for (int i = 0; i < many; i++) free(blocks[i]);
    CHECK(errno == 4711);
}

static void realloc_edges(void) {
    void *block = malloc(100);
    fill(block, 100, 1);
    CHECK(realloc(block, hide(0)) == NULL);
    /* That it was freed: a hundred thousand that were not would be 10 GB. */
    for (int i = 0; i < 100000; i++) {
        void *large = malloc(100000);
        CHECK(large != NULL);
        CHECK(realloc(large, hide(0)) == NULL);
    }
    static const size_t sizes[] = {1, 100, 5000, 40000, 200000, 3 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        block = malloc(sizes[i]);
        fill(block, sizes[i], i);
        errno = 0;
        CHECK(realloc(hide_pointer(block), hide((size_t)PTRDIFF_MAX + 1)) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(realloc(hide_pointer(block), hide((size_t)1 << 62)) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(reallocarray(hide_pointer(block), hide((size_t)1 << 40), hide((size_t)1 << 40)) == NULL);
        CHECK(errno == ENOMEM);
        CHECK(intact(block, sizes[i], i));
        block = reallocarray(block, hide(sizes[i]), hide(3));
        CHECK(block != NULL && intact(block, sizes[i], i));
        free(block);
    }
    block = reallocarray(NULL, hide(0), hide(8));
    CHECK(block != NULL);
    CHECK(reallocarray(block, hide(8), hide(0)) == NULL);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    zero_sizes();
    sixteen_bytes();
    errno_is_left_alone();
    realloc_edges();
    return finish();
}
