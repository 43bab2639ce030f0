/* Every exported name by dlsym, the ones that no header declares any more among them: each hands
 * out blocks that free takes, or tells figures that are possible. */
#include "check.h"
#include "pattern.h"
#include <errno.h>
#include <malloc.h>

static void *find(const char *name) {
    void *found = dlsym(RTLD_DEFAULT, name);
    if (found == NULL) {
        if (ours()) check_failed(__FILE__, __LINE__, name);
        return NULL;
    }
    Dl_info info;
    if (ours() && (dladdr(found, &info) == 0 || strstr(info.dli_fname, "lfalloc") == NULL))
        check_failed("not from lfalloc", __LINE__, name);
    return found;
}

/* A pointer to a function is not a pointer to an object; POSIX makes dlsym's one good for it. */
#define FIND(variable, name)                          \
    do {                                              \
        void *found_ = find(name);                    \
        memcpy(&(variable), &found_, sizeof found_);  \
    } while (0)

static void use(void *block, size_t size) {
    REQUIRE(block != NULL);
    CHECK(malloc_usable_size(block) >= size);
    memset(block, 0x5a, malloc_usable_size(block));
}

/* Freed each in turn by free, cfree, __libc_free and __libc_cfree, many times: a leak or a
 * mix-up of two allocators would not survive it. */
static void aliases(void) {
    void *(*libc_malloc)(size_t), *(*libc_calloc)(size_t, size_t), *(*libc_realloc)(void *, size_t);
    void *(*libc_reallocarray)(void *, size_t, size_t);
    void *(*libc_memalign)(size_t, size_t), *(*libc_valloc)(size_t), *(*libc_pvalloc)(size_t);
    int (*libc_posix_memalign)(void **, size_t, size_t);
    void (*releases[4])(void *) = {free, NULL, NULL, NULL};
    FIND(libc_malloc, "__libc_malloc");
    FIND(libc_calloc, "__libc_calloc");
    FIND(libc_realloc, "__libc_realloc");
    FIND(libc_reallocarray, "__libc_reallocarray");
    FIND(libc_memalign, "__libc_memalign");
    FIND(libc_valloc, "__libc_valloc");
    FIND(libc_pvalloc, "__libc_pvalloc");
    FIND(libc_posix_memalign, "__posix_memalign");
    FIND(releases[1], "cfree");
    FIND(releases[2], "__libc_free");
    FIND(releases[3], "__libc_cfree");
    for (int i = 0; i < 4000; i++) {
        void (*release)(void *) = releases[i % 4] != NULL ? releases[i % 4] : free;
        void *block = NULL;
        size_t size = (size_t)i % 1000;
        switch (i / 4 % 7) {
        case 0: block = libc_malloc ? libc_malloc(size) : malloc(size); break;
        case 1:
            block = libc_calloc ? libc_calloc(size, 2) : calloc(size, 2);
            CHECK(all_zero(block, 2 * size));
            break;
        case 2:
            block = malloc(10);
            block = libc_realloc ? libc_realloc(block, size + 1) : block;
            if (libc_reallocarray) block = libc_reallocarray(block, 10, 5);
            break;
        case 3:
            block = libc_memalign ? libc_memalign(256, size) : memalign(256, size);
            CHECK((uintptr_t)block % 256 == 0);
            break;
        case 4:
            block = libc_valloc ? libc_valloc(size) : valloc(size);
            CHECK((uintptr_t)block % 4096 == 0);
            break;
        case 5:
            block = libc_pvalloc ? libc_pvalloc(size) : pvalloc(size);
            CHECK((uintptr_t)block % 4096 == 0);
            CHECK(malloc_usable_size(block) >= (size + 4095) / 4096 * 4096);
            break;
        case 6:
            if (libc_posix_memalign == NULL) continue;
            CHECK(libc_posix_memalign(&block, 512, size) == 0);
            CHECK((uintptr_t)block % 512 == 0);
            break;
        }
        use(block, i / 4 % 7 == 2 ? 10 : size);
        release(block);
        release(NULL);
    }
    /* The other names keep the same promises. */
    if (ours() && libc_malloc != NULL && libc_calloc != NULL && libc_posix_memalign != NULL) {
        errno = 0;
        CHECK(libc_malloc(hide(SIZE_MAX)) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(libc_calloc(hide(SIZE_MAX), hide(2)) == NULL && errno == ENOMEM);
        void *block = NULL;
        CHECK(libc_posix_memalign(&block, hide(24), hide(8)) == EINVAL && block == NULL);
    }
}

/* C23's: the sizes are advice, and wrong advice does no harm. */
static void sized_frees(void) {
    void (*sized)(void *, size_t), (*aligned_sized)(void *, size_t, size_t);
    FIND(sized, "free_sized");
    FIND(aligned_sized, "free_aligned_sized");
    if (sized == NULL || aligned_sized == NULL) return;
    sized(NULL, 0);
    sized(NULL, 100);
    aligned_sized(NULL, 64, 100);
    static const size_t sizes[] = {0, 1, 100, 2000, 40000, 131072, 131073, 1 << 20};
    static const size_t wrong[] = {0, 1, 101, 4096, 40001, 200000, SIZE_MAX};
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            void *block = malloc(sizes[i]);
            use(block, sizes[i]);
            sized(block, sizes[i]);
            block = aligned_alloc(64, sizes[i]);
            use(block, sizes[i]);
            aligned_sized(block, 64, sizes[i]);
            for (size_t j = 0; j < sizeof wrong / sizeof *wrong; j++) {
                void *neighbour = malloc(sizes[i]);
                fill(neighbour, sizes[i], j);
                block = malloc(sizes[i]);
                use(block, sizes[i]);
                errno = 4711;
                sized(block, wrong[j]);
                block = aligned_alloc(128, sizes[i]);
                use(block, sizes[i]);
                aligned_sized(block, j % 2 ? 3 : 4096, wrong[j]);
                CHECK(errno == 4711);
                void *next = malloc(sizes[i]);
                use(next, sizes[i]);
                CHECK(intact(neighbour, sizes[i], j));
                free(neighbour);
                free(next);
            }
        }
    }
}

static void figures(void) {
    int (*libc_mallopt)(int, int);
    struct mallinfo (*libc_mallinfo)(void);
    struct mallinfo (*old_mallinfo)(void);
    FIND(libc_mallopt, "__libc_mallopt");
    FIND(libc_mallinfo, "__libc_mallinfo");
    FIND(old_mallinfo, "mallinfo");
    find("mallinfo2");
    find("malloc_info");
    find("malloc_stats");
    find("malloc_trim");
    find("mallopt");

    enum { count = 1000, bytes = 4000 };
    void *blocks[count];
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < count; i++) blocks[i] = malloc(bytes);
    struct mallinfo2 during = mallinfo2();
    CHECK(during.uordblks >= before.uordblks + (size_t)count * bytes);
    if (ours()) CHECK(during.uordblks <= before.uordblks + (size_t)count * bytes * 5 / 4);
    CHECK(during.arena + during.hblkhd >= during.uordblks);
    if (old_mallinfo != NULL) {
        struct mallinfo old = old_mallinfo();
        CHECK((size_t)(unsigned)old.uordblks >= (size_t)count * bytes);
    }
    if (libc_mallinfo != NULL) {
        struct mallinfo old = libc_mallinfo();
        CHECK((size_t)(unsigned)old.uordblks >= (size_t)count * bytes);
    }
    for (int i = 0; i < count; i++) free(blocks[i]);
    struct mallinfo2 after = mallinfo2();
    CHECK(after.uordblks + (size_t)count * bytes <= during.uordblks);

    CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
    CHECK(mallopt(M_ARENA_MAX, 1) == 1);
    if (libc_mallopt != NULL) CHECK(libc_mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1);
    void *large = malloc((size_t)32 << 20);
    use(large, (size_t)32 << 20);
    free(large);
    int trimmed = malloc_trim(0);
    CHECK(trimmed == 0 || trimmed == 1);
    CHECK(malloc_trim(0) == 0 || malloc_trim(1 << 20) >= 0);
}

static void reports(void) {
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    REQUIRE(stream != NULL);
    CHECK(malloc_info(0, stream) == 0);
    CHECK(fclose(stream) == 0);
    CHECK(text != NULL && strncmp(text, "<malloc", 7) == 0);
    CHECK(text != NULL && strstr(text, "</malloc>") != NULL);
    free(text);
    /* Only 0 is defined. */
    stream = fopen("/dev/null", "w");
    REQUIRE(stream != NULL);
    int result = malloc_info(1, stream);
    CHECK(result != 0);
    CHECK(result == EINVAL || result == -1);
    fclose(stream);
    /* On standard error, where the harness looks for it. */
    say("<<<\n");
    malloc_stats();
    say(">>>\n");
}

int main(int argc, char **argv) {
    begin(argc, argv);
    aliases();
    sized_frees();
    figures();
    reports();
    return finish();
}
