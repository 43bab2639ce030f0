/* Surroundings that a malloc should survive, one a run, by name. */
#include "check.h"
#include "pattern.h"
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

/* Blocks of every size, the large ones touched at both ends; all may fail with ENOMEM only. */
static size_t some_work(void) {
    size_t failed = 0;
    for (size_t size = 1; size < 4 << 20; size = size * 2 + 1) {
        errno = 0;
        char *block = malloc(size);
        if (block == NULL) {
            CHECK(errno == ENOMEM);
            failed++;
            continue;
        }
        block[0] = block[size - 1] = 1;
        char *larger = realloc(block, size * 3);
        if (larger == NULL) failed++;
        free(larger != NULL ? larger : block);
    }
    return failed;
}

/* The first malloc of the process is in here. */
static void descriptors(void) {
    for (int i = 0; i < 1024; i++)
        if (i != 2) close(i);
    close(2);
    CHECK(some_work() == 0);
    for (int i = 0; i < 1024; i++) close(i);
    CHECK(some_work() == 0);
    /* Nobody but the status can tell. */
}

/* `ulimit -v` of 200 MB: until there is no more, then all back, then again as much. */
static void address_space(void) {
    static const size_t sizes[] = {64, 5000, 40000, 300000, 5 << 20, 1000};
    struct rlimit limit = {200 << 20, 200 << 20};
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    void **blocks = malloc(4000000 * sizeof *blocks);
    REQUIRE(blocks != NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i], count = 0, first = 0;
        for (int round = 0; round < 3; round++) {
            for (count = 0; count < 4000000; count++) {
                errno = 0;
                char *block = malloc(size);
                if (block == NULL) break;
                block[0] = (char)count;
                block[size - 1] = (char)(count >> 8);
                blocks[count] = block;
            }
            CHECK(count == 4000000 || errno == ENOMEM);
            /* Not just now, either, and calloc and realloc say the same. */
            errno = 0;
            CHECK(calloc(1, 100 << 20) == NULL && errno == ENOMEM);
            CHECK(count * size > 60 << 20);
            errno = 0;
            CHECK(realloc(blocks[0], 190 << 20) == NULL && errno == ENOMEM);
            for (size_t j = 0; j < count; j++) {
                char *block = blocks[j];
                /* Of one byte there is no other end. */
                CHECK(block[size - 1] == (char)(j >> 8) && block[0] == (char)j);
                free(block);
            }
            if (round == 0) first = count;
            /* All of it came back. */
            CHECK(count >= first / 10 * 9);
        }
    }
    CHECK(some_work() == 0);
    free(blocks);
}

/* Started under a limit that leaves nearly nothing. */
static void nearly_nothing(void) {
    void *blocks[1000];
    size_t count = 0;
    for (int i = 0; i < 1000; i++) {
        errno = 0;
        blocks[count] = malloc(64);
        if (blocks[count] == NULL) {
            CHECK(errno == ENOMEM);
            break;
        }
        memset(blocks[count++], 1, 64);
    }
    for (size_t i = 0; i < count; i++) free(blocks[i]);
    some_work();
    dprintf(1, "%zu\n", count);
}

/* Alternately protected pages take all mappings that a process may have. */
static void mapping_limit(void) {
    enum { held = 64 };
    void *small[held], *large[held];
    for (int i = 0; i < held; i++) {
        small[i] = malloc(500);
        large[i] = malloc(300000);
        REQUIRE(small[i] != NULL && large[i] != NULL);
        fill(small[i], 500, 1);
        fill(large[i], 300000, 2);
    }
    size_t page = 4096, pages = 300000;
    char *area = mmap(NULL, pages * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                      0);
    REQUIRE(area != MAP_FAILED);
    size_t i = 1;
    while (i < pages && mprotect(area + i * page, page, PROT_READ) == 0) i += 2;
    if (i >= pages) {
        say("skipped: this system allows more mappings than there are pages here\n");
        return;
    }
    CHECK(errno == ENOMEM);
    /* What is freed can be had again, a thousand times. */
    for (int round = 0; round < 1000; round++) {
        int slot = round % held;
        CHECK(intact(small[slot], 500, 1));
        free(small[slot]);
        small[slot] = malloc(500);
        REQUIRE(small[slot] != NULL);
        fill(small[slot], 500, 1);
        CHECK(intact(large[slot], 300000, 2));
        free(large[slot]);
        large[slot] = malloc(300000);
        REQUIRE(large[slot] != NULL);
        fill(large[slot], 300000, 2);
    }
    /* New sizes may fail, with the one error that is allowed. */
    some_work();
    for (int round = 0; round < 200; round++) {
        errno = 0;
        void *block = malloc((size_t)round * 5000);
        CHECK(block != NULL || errno == ENOMEM);
        free(block);
    }
    for (int j = 0; j < held; j++) {
        CHECK(intact(small[j], 500, 1) && intact(large[j], 300000, 2));
        errno = 0;
        void *block = realloc(large[j], 600000);
        CHECK(block != NULL || errno == ENOMEM);
        if (block != NULL) large[j] = block;
        CHECK(intact(large[j], 300000, 2));
        free(small[j]);
        free(large[j]);
        errno = 0;
        /* Whether it could be unmapped or not, it is zero when it comes back by calloc. */
        block = calloc(1, 300000);
        CHECK(block != NULL || errno == ENOMEM);
        if (block != NULL) CHECK(all_zero(block, 300000));
        free(block);
    }
    REQUIRE(munmap(area, pages * page) == 0);
    CHECK(some_work() == 0);
}

static void changed_root(const char *folder) {
    if (geteuid() != 0) {
        say("skipped: chroot(2) needs root\n");
        return;
    }
    REQUIRE(chroot(folder) == 0 && chdir("/") == 0);
    CHECK(some_work() == 0);
    pthread_t thread;
    void *(*work)(void *) = (void *(*)(void *))(void (*)(void))some_work;
    REQUIRE(pthread_create(&thread, NULL, work, NULL) == 0);
    pthread_join(thread, NULL);
}

#define ALLOW(number)                                           \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),        \
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* Mapping and unmapping work, advice and everything else does not. (glibc 2.36 dies of it.) */
static void filtered(void) {
    void *dirty = malloc(1000000);
    memset(dirty, 0xff, 1000000);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_mmap),
        ALLOW(SYS_munmap),
        ALLOW(SYS_write),
        ALLOW(SYS_exit),
        ALLOW(SYS_exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    free(dirty);
    CHECK(some_work() == 0);
    enum { held = 3000 };
    static void *blocks[held];
    uint64_t state = 77;
    for (int round = 0; round < 20000; round++) {
        size_t slot = random_next(&state) % held;
        free(blocks[slot]);
        size_t size = random_next(&state) % (round % 50 == 0 ? 500000 : 3000);
        if (round % 3 == 0) {
            blocks[slot] = calloc(1, size);
            REQUIRE(blocks[slot] != NULL);
            CHECK(all_zero(blocks[slot], size));
        } else if (round % 3 == 1) {
            blocks[slot] = realloc(malloc(10), size + 1);
        } else {
            blocks[slot] = malloc(size);
        }
        REQUIRE(blocks[slot] != NULL);
        memset(blocks[slot], 0xff, malloc_usable_size(blocks[slot]));
        if (round % 5000 == 4999) malloc_trim(0);
    }
    for (int i = 0; i < held; i++) free(blocks[i]);
    malloc_trim(0);
    void *zero = calloc(1, 1000000);
    REQUIRE(zero != NULL);
    CHECK(all_zero(zero, 1000000));
    free(zero);
    CHECK(some_work() == 0);
}

/* Locked pages cannot be given back by advice: what is freed is dirty, and must not seem clean. */
static void locked(void) {
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        say("skipped: mlockall(2) is not allowed here\n");
        return;
    }
    enum { held = 200 };
    void *blocks[held] = {0};
    size_t sizes[held] = {0};
    uint64_t state = 99;
    for (int round = 0; round < 4000; round++) {
        size_t slot = random_next(&state) % held;
        if (blocks[slot] != NULL) CHECK(intact(blocks[slot], sizes[slot], slot));
        free(blocks[slot]);
        sizes[slot] = random_next(&state) % (round % 20 == 0 ? 600000 : 5000);
        if (round % 2) {
            blocks[slot] = calloc(1, sizes[slot]);
            REQUIRE(blocks[slot] != NULL);
            CHECK(all_zero(blocks[slot], sizes[slot]));
        } else {
            blocks[slot] = malloc(sizes[slot]);
            REQUIRE(blocks[slot] != NULL);
        }
        fill(blocks[slot], sizes[slot], slot);
        if (round % 500 == 499) {
            errno = 4711;
            int trimmed = malloc_trim(0);
            CHECK(trimmed == 0 || trimmed == 1);
        }
    }
    for (int i = 0; i < held; i++) {
        CHECK(intact(blocks[i], sizes[i], (uint64_t)i));
        free(blocks[i]);
    }
    CHECK(some_work() == 0);
}

static void *on_a_small_stack(void *argument) {
    (void)argument;
    for (int i = 0; i < 10000; i++) {
        free(malloc((size_t)i % 3000));
        if (i % 10 == 0) free(realloc(malloc((size_t)i * 7), (size_t)i * 20));
        if (i % 100 == 0) free(calloc(1, 300000));
        if (i % 100 == 50) free(memalign(1 << 16, 300000));
    }
    malloc_trim(0);
    return NULL;
}

static void small_stacks(void) {
    size_t bytes = (size_t)sysconf(_SC_THREAD_STACK_MIN);
    bytes = (bytes + 4095) / 4096 * 4096;
    char *area = mmap(NULL, bytes + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(area != MAP_FAILED && mprotect(area, 4096, PROT_NONE) == 0);
    pthread_attr_t attributes;
    REQUIRE(pthread_attr_init(&attributes) == 0);
    REQUIRE(pthread_attr_setstack(&attributes, area + 4096, bytes) == 0);
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, &attributes, on_a_small_stack, NULL) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
    }
}

/* With strict accounting, what is only reserved must not be counted as used. */
static void overcommit(void) {
    int mode = 0;
    FILE *file = fopen("/proc/sys/vm/overcommit_memory", "r");
    if (file == NULL || fscanf(file, "%d", &mode) != 1 || mode != 2) {
        say("skipped: memory is not accounted for strictly here\n");
        return;
    }
    fclose(file);
    CHECK(some_work() == 0);
    void *block = malloc(64 << 20);
    CHECK(block != NULL);
    free(block);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    REQUIRE(argc > 1);
    const char *what = argv[1];
    if (strcmp(what, "descriptors") == 0) descriptors();
    else if (strcmp(what, "address-space") == 0) address_space();
    else if (strcmp(what, "nearly-nothing") == 0) nearly_nothing();
    else if (strcmp(what, "mapping-limit") == 0) mapping_limit();
    else if (strcmp(what, "chroot") == 0) changed_root(argv[2]);
    else if (strcmp(what, "filtered") == 0) filtered();
    else if (strcmp(what, "locked") == 0) locked();
    else if (strcmp(what, "small-stacks") == 0) small_stacks();
    else if (strcmp(what, "overcommit") == 0) overcommit();
    else REQUIRE(!"a case that exists");
    return finish();
}
