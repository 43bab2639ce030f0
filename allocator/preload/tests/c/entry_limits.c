/* Sizes nobody can have and alignments that are none: the error of each call, and what it leaves. */
#include "check.h"
#include "pattern.h"
#include <errno.h>
#include <malloc.h>

#define FAILS_WITH(expected, call)                         \
    do {                                                   \
        errno = 0;                                         \
        void *result = (call);                             \
        CHECK(result == NULL && #call);                    \
        CHECK(errno == (expected) && #call);               \
        if (result != NULL) free(result);                  \
    } while (0)

static void too_large(void) {
    static const size_t sizes[] = {
        (size_t)PTRDIFF_MAX + 1, (size_t)PTRDIFF_MAX + 2, SIZE_MAX / 2 + 4096, SIZE_MAX - 65536,
        SIZE_MAX - 4096,         SIZE_MAX - 4095,         SIZE_MAX - 16,       SIZE_MAX - 15,
        SIZE_MAX - 1,            SIZE_MAX,
    };
    static const size_t alignments[] = {8, 16, 64, 4096, 65536, 1 << 22, (size_t)1 << 40};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = hide(sizes[i]);
        FAILS_WITH(ENOMEM, malloc(size));
        FAILS_WITH(ENOMEM, calloc(1, size));
        FAILS_WITH(ENOMEM, calloc(size, 1));
        FAILS_WITH(ENOMEM, realloc(NULL, size));
        FAILS_WITH(ENOMEM, reallocarray(NULL, 1, size));
        FAILS_WITH(ENOMEM, valloc(size));
        FAILS_WITH(ENOMEM, pvalloc(size));
        for (size_t j = 0; j < sizeof alignments / sizeof *alignments; j++) {
            size_t alignment = hide(alignments[j]);
            FAILS_WITH(ENOMEM, aligned_alloc(alignment, size));
            FAILS_WITH(ENOMEM, memalign(alignment, size));
            void *before = &before, *block = before;
            errno = 4711;
            CHECK(posix_memalign(&block, alignment, size) == ENOMEM);
            CHECK(block == before);
            if (ours()) CHECK(errno == 4711);
        }
    }
    /* PTRDIFF_MAX itself is allowed, and there is not that much; so are the halves of it. */
    for (int shift = 0; shift < 15; shift++) FAILS_WITH(ENOMEM, malloc(hide(PTRDIFF_MAX >> shift)));
    FAILS_WITH(ENOMEM, memalign(4096, hide(PTRDIFF_MAX)));
    FAILS_WITH(ENOMEM, memalign((size_t)1 << 62, hide(16)));
    FAILS_WITH(ENOMEM, memalign((size_t)1 << 62, hide(PTRDIFF_MAX)));
    FAILS_WITH(ENOMEM, memalign((size_t)1 << 50, hide(PTRDIFF_MAX - 4096)));
}

static void products(void) {
    static const size_t factors[][2] = {
        {SIZE_MAX, 2},
        {2, SIZE_MAX},
        {(size_t)1 << 32, (size_t)1 << 32},
        {((size_t)1 << 32) + 1, (size_t)1 << 32},
        {SIZE_MAX / 16 + 2, 16},
        {SIZE_MAX / 3 + 2, 3},
        {SIZE_MAX, SIZE_MAX},
        {(size_t)1 << 62, 2},
    };
    void *block = malloc(100);
    fill(block, 100, 9);
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        size_t a = hide(factors[i][0]), b = hide(factors[i][1]);
        FAILS_WITH(ENOMEM, calloc(a, b));
        FAILS_WITH(ENOMEM, reallocarray(NULL, a, b));
        errno = 0;
        CHECK(reallocarray(hide_pointer(block), a, b) == NULL && errno == ENOMEM);
    }
    CHECK(intact(block, 100, 9));
    free(block);
}

static void alignments(void) {
    static const size_t wrong[] = {0, 1, 2, 3, 4, 7, 24, 100, 4097, SIZE_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        void *before = &before, *block = before;
        errno = 4711;
        CHECK(posix_memalign(&block, hide(wrong[i]), hide(100)) == EINVAL);
        CHECK(block == before && errno == 4711);
        size_t alignment = wrong[i];
        if (ours() && (alignment == 0 || (alignment & (alignment - 1)) != 0))
            FAILS_WITH(EINVAL, aligned_alloc(hide(alignment), hide(128)));
    }
    for (size_t alignment = 1; alignment <= (size_t)4 << 20; alignment *= 2) {
        static const size_t sizes[] = {0, 1, 15, 100, 4095, 4097, 70000, 200001};
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            /* Most sizes are no multiple of the alignment. */
            void *a = aligned_alloc(hide(alignment), hide(sizes[i]));
            void *b = memalign(hide(alignment), hide(sizes[i]));
            void *c = memalign(hide(alignment / 2 + alignment / 4 + 1), hide(sizes[i]));
            CHECK(a != NULL && (uintptr_t)a % alignment == 0);
            CHECK(b != NULL && (uintptr_t)b % alignment == 0);
            CHECK(c != NULL && (uintptr_t)c % alignment == 0);
            CHECK((uintptr_t)a % 16 == 0 && (uintptr_t)b % 16 == 0 && (uintptr_t)c % 16 == 0);
            fill(a, sizes[i], 1);
            fill(b, sizes[i], 2);
            fill(c, sizes[i], 3);
            void *d = NULL;
            if (alignment >= sizeof(void *)) {
                CHECK(posix_memalign(&d, hide(alignment), hide(sizes[i])) == 0);
                CHECK(d != NULL && (uintptr_t)d % alignment == 0);
                fill(d, sizes[i], 4);
                CHECK(intact(d, sizes[i], 4));
            }
            CHECK(intact(a, sizes[i], 1) && intact(b, sizes[i], 2) && intact(c, sizes[i], 3));
            free(a);
            free(d);
            free(b);
            free(c);
        }
    }
    /* memalign rounds up what is no power of two; 0 is the least. */
    void *block = memalign(hide(0), hide(10));
    CHECK(block != NULL);
    free(block);
    if (ours()) FAILS_WITH(EINVAL, memalign(hide(SIZE_MAX), hide(10)));

    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *a = valloc(sizes[i]), *b = pvalloc(sizes[i]);
        CHECK(a != NULL && (uintptr_t)a % page == 0);
        CHECK(b != NULL && (uintptr_t)b % page == 0);
        size_t whole = (sizes[i] + page - 1) / page * page;
        CHECK(malloc_usable_size(b) >= whole);
        memset(b, 1, whole);
        free(a);
        free(b);
    }
}

int main(int argc, char **argv) {
    begin(argc, argv);
    too_large();
    products();
    alignments();
    return finish();
}
