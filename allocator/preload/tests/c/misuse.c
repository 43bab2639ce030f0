/* What a wrong program does to it, one case a run: foreign pointers are said, counted and ignored;
 * what would destroy the allocator's books ends the program. The harness looks at the status and
 * at standard error; on standard output stands which address it must name. */
#include "check.h"
#include "pattern.h"
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* As in lfalloc.h; found by name, so that the program runs on the C library, too. */
struct totals {
    uint64_t mapped_bytes, live_bytes, superblock_bytes, allocations, frees, in_hand, foreign_frees;
};

static struct totals totals(void) {
    void (*lfalloc_totals)(struct totals *, size_t);
    void *found = dlsym(RTLD_DEFAULT, "lfalloc_totals");
    memcpy(&lfalloc_totals, &found, sizeof found);
    struct totals now;
    lfalloc_totals(&now, sizeof now);
    return now;
}

static void announce(void *pointer) {
    char text[40];
    int length = snprintf(text, sizeof text, "%p\n", pointer);
    ssize_t written = write(1, text, (size_t)length);
    (void)written;
}

static char in_data[4096] = {1};

static void foreign(void *pointer) {
    announce(pointer);
    void *mine = malloc(100);
    fill(mine, 100, 1);
    struct totals before = totals();
    errno = 4711;
    free(hide_pointer(pointer));
    CHECK(errno == 4711);
    struct totals after = totals();
    CHECK(after.foreign_frees == before.foreign_frees + 1);
    CHECK(after.frees == before.frees && after.live_bytes == before.live_bytes);
    /* Said once, counted each time. */
    for (int i = 0; i < 10; i++) free(hide_pointer(pointer));
    CHECK(totals().foreign_frees == before.foreign_frees + 11);
    errno = 0;
    CHECK(realloc(hide_pointer(pointer), hide(100)) == NULL && errno == EINVAL);
    errno = 0;
    CHECK(realloc(hide_pointer(pointer), hide(1 << 20)) == NULL && errno == EINVAL);
    CHECK(malloc_usable_size(hide_pointer(pointer)) == 0);
    CHECK(intact(mine, 100, 1));
    free(mine);
    for (size_t size = 1; size < (1 << 20); size *= 2) free(malloc(hide(size)));
}

static void twice(size_t size, int times) {
    void *block = malloc(hide(size)), *other = malloc(hide(size));
    announce(block);
    for (int i = 0; i <= times; i++) free(hide_pointer(block));
    free(other);
    say("not noticed\n");
}

static void interior(size_t size, size_t offset) {
    char *block = malloc(hide(size));
    memset(block, 0, size);
    announce(block + offset);
    free(hide_pointer(block + offset));
    /* At the latest when it comes back from a magazine. */
    malloc_trim(0);
    say("not noticed\n");
}

/* Handed out next, if nobody looked. */
static void interior_popped(size_t size, size_t offset) {
    char *block = malloc(hide(size));
    announce(block + offset);
    free(hide_pointer(block + offset));
    (void)!malloc(hide(size));
    say("not noticed\n");
}

/* Writes over many freed blocks and allocates until what was written would be believed. */
static void write_after_free(size_t size, int many) {
    void **blocks = mmap(NULL, (size_t)many * sizeof *blocks, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(blocks != MAP_FAILED);
    char *lowest = (char *)UINTPTR_MAX, *highest = NULL;
    for (int i = 0; i < many; i++) {
        char *block = blocks[i] = malloc(hide(size));
        if (block < lowest) lowest = block;
        if (block > highest) highest = block;
    }
    announce(lowest);
    announce(highest);
    /* Every other one, so that the superblocks stay in use. */
    for (int i = 0; i < many; i += 2) free(blocks[i]);
    for (int i = 0; i < many; i += 2) memset(hide_pointer(blocks[i]), 0x41, size);
    for (int i = 0; i < many; i++) {
        char *block = malloc(hide(size));
        /* Believing it would give a block that is none, sooner or later. */
        if (block < lowest - (1 << 20) || block > highest + (8 << 20)) break;
        memset(block, 0x42, size);
    }
    say("not noticed\n");
}

/* Blocks with every other one freed, and given back to its superblock, which stays in use. */
enum { MANY = 2000 };
static void *kept[MANY];

static void scatter(size_t size) {
    for (int i = 0; i < MANY; i++) kept[i] = malloc(hide(size));
    for (int i = 0; i < MANY; i += 2) free(hide_pointer(kept[i]));
    malloc_trim(0);
}

/* Freed again when it has left the magazines long ago; noticed when it comes back from there once more. */
static void twice_later(size_t size) {
    scatter(size);
    void *block = kept[MANY / 2];
    announce(block);
    free(hide_pointer(block));
    malloc_trim(0);
    say("not noticed\n");
}

/* The link of another block, as somebody writes it who can read. */
static void forge(size_t size) {
    scatter(size);
    announce(kept[MANY / 2]);
    announce(kept[MANY / 2 + 2]);
    memcpy(hide_pointer(kept[MANY / 2]), hide_pointer(kept[MANY / 2 + 2]), 8);
    for (int i = 0; i < MANY; i++) memset(malloc(hide(size)), 0x42, size);
    say("not noticed\n");
}

/* A write far behind the link. */
static void write_behind(size_t size, size_t offset) {
    scatter(size);
    char *block = kept[MANY / 2];
    announce(block);
    ((char *)hide_pointer(block))[offset] ^= 1;
    for (int i = 0; i < MANY; i++) memset(malloc(hide(size)), 0x42, size);
    say("not noticed\n");
}

static void use_freed(int resizes) {
    scatter(100);
    void *block = kept[MANY / 2];
    announce(block);
    if (resizes) kept[0] = realloc(hide_pointer(block), hide(104));
    else (void)malloc_usable_size(hide_pointer(block));
    say("not noticed\n");
}

static _Atomic int ready;

static void *free_at_once(void *block) {
    /* Spinning, so that both go on in the same moment. */
    ready++;
    while (ready < 2) {}
    free(block);
    return NULL;
}

/* In each of many children two threads free a block: every child must end by it. */
static void race(size_t size) {
    int unnoticed = 0;
    for (int child = 0; child < 400; child++) {
        pid_t pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
            /* Nothing on standard error: it is expected. */
            close(2);
            void *block = malloc(hide(size));
            pthread_t threads[2];
            for (int i = 0; i < 2; i++) REQUIRE(!pthread_create(&threads[i], NULL, free_at_once, block));
            for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
            _exit(0);
        }
        int status;
        REQUIRE(waitpid(pid, &status, 0) == pid);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) unnoticed++;
    }
    CHECK(unnoticed == 0);
}

/* What a program does not write to holds what stood there before: the links of former lives. No harm may come of it. */
static void untouched(void) {
    for (int round = 0; round < 200; round++) {
        size_t size = (size_t[]){16, 48, 100, 700, 5000}[round % 5];
        scatter(size);
        for (int i = 1; i < MANY; i += 2) free(hide_pointer(kept[i]));
        if (round % 3 == 0) malloc_trim(0);
    }
}

int main(int argc, char **argv) {
    begin(argc, argv);
    REQUIRE(argc > 1);
    const char *what = argv[1];
    char on_stack[4096];
    on_stack[0] = 1;
    if (strcmp(what, "stack") == 0) foreign(on_stack + 64);
    else if (strcmp(what, "stack-odd") == 0) foreign(on_stack + 67);
    else if (strcmp(what, "static") == 0) foreign(in_data + 128);
    else if (strcmp(what, "code") == 0) {
        int (*code)(int, char **) = main;
        void *pointer;
        memcpy(&pointer, &code, sizeof code);
        foreign(pointer);
    } else if (strcmp(what, "mapping") == 0)
        foreign((char *)mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                             0) + 4096);
    else if (strcmp(what, "inaccessible") == 0)
        foreign((char *)mmap(NULL, 1 << 24, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 65536);
    else if (strcmp(what, "one") == 0) foreign((void *)1);
    else if (strcmp(what, "no-address") == 0) foreign((void *)0xdead00000000beef);
    else if (strcmp(what, "kernel") == 0) foreign((void *)0xffffffff81000000);
    else if (strcmp(what, "twice-small") == 0) twice(100, 1);
    else if (strcmp(what, "twice-middle") == 0) twice(40 << 10, 1);
    else if (strcmp(what, "twice-large") == 0) twice(1 << 20, 1);
    else if (strcmp(what, "often-small") == 0) twice(100, 64);
    else if (strcmp(what, "often-middle") == 0) twice(40 << 10, 64);
    else if (strcmp(what, "often-large") == 0) twice(1 << 20, 64);
    else if (strcmp(what, "interior-small") == 0) interior(100, 16);
    else if (strcmp(what, "interior-odd") == 0) interior(100, 1);
    else if (strcmp(what, "interior-middle") == 0) interior(40 << 10, 4096);
    else if (strcmp(what, "interior-large") == 0) interior(1 << 20, 4096);
    else if (strcmp(what, "interior-popped") == 0) interior_popped(100, 8);
    else if (strcmp(what, "interior-end") == 0)
        foreign((char *)malloc(hide(1 << 20)) + (1 << 20) - 16);
    else if (strcmp(what, "later-small") == 0) twice_later(100);
    else if (strcmp(what, "later-middle") == 0) twice_later(5000);
    else if (strcmp(what, "forged") == 0) forge(64);
    else if (strcmp(what, "behind-small") == 0) write_behind(64, 40);
    else if (strcmp(what, "behind-middle") == 0) write_behind(5000, 3000);
    else if (strcmp(what, "resized") == 0) use_freed(1);
    else if (strcmp(what, "measured") == 0) use_freed(0);
    else if (strcmp(what, "raced-small") == 0) race(100);
    else if (strcmp(what, "raced-large") == 0) race(200 << 10);
    else if (strcmp(what, "untouched") == 0) untouched();
    else if (strcmp(what, "written-few") == 0) write_after_free(64, 10);
    else if (strcmp(what, "written-small") == 0) write_after_free(64, 20000);
    else if (strcmp(what, "written-middle") == 0) write_after_free(5000, 4000);
    else REQUIRE(!"a case that exists");
    return finish();
}
