/* Allocations before main, as early as a program has code of its own, and after it. A block of each
 * stage is used and freed in a later one. */
#include "check.h"
#include "pattern.h"
#include <malloc.h>

enum { stages = 8, bytes = 3000 };
static void *held[stages];
static int reached;

static void stage(int number) {
    CHECK(number == reached);
    reached++;
    for (int i = 0; i < number; i++) CHECK(intact(held[i], bytes, (uint64_t)i));
    if (number >= 3) {
        free(held[number - 3]);
        held[number - 3] = malloc(bytes);
        REQUIRE(held[number - 3] != NULL);
        fill(held[number - 3], bytes, (uint64_t)number - 3);
    }
    held[number] = calloc(1, bytes);
    REQUIRE(held[number] != NULL);
    CHECK(all_zero(held[number], bytes));
    fill(held[number], bytes, (uint64_t)number);
    for (size_t size = 1; size < 4 << 20; size = size * 3 + 1) {
        void *block = malloc(size);
        REQUIRE(block != NULL);
        memset(block, 1, size);
        block = realloc(block, 2 * size);
        REQUIRE(block != NULL);
        free(block);
        block = memalign(4096, size);
        REQUIRE(block != NULL);
        free(block);
    }
}

/* The dynamic linker calls it before any constructor. */
static void earliest(int argc, char **argv, char **environment) {
    (void)argc, (void)argv, (void)environment;
    stage(0);
}
__attribute__((section(".preinit_array"), used)) static void (*const preinit)(int, char **,
                                                                              char **) = earliest;

__attribute__((constructor(101))) static void early(void) { stage(1); }
__attribute__((constructor)) static void usual(void) { stage(2); }

/* After the last: whatever failed until then must become the status. */
__attribute__((destructor(101))) static void latest(void) {
    stage(7);
    for (int i = 0; i < stages; i++) free(held[i]);
    if (finish() != 0) _exit(1);
}
__attribute__((destructor)) static void late(void) { stage(6); }

static void at_exit(void) { stage(5); }
static void at_exit_first(void) { stage(4); }

int main(int argc, char **argv) {
    begin(argc, argv);
    stage(3);
    atexit(at_exit);
    atexit(at_exit_first);
    return finish();
}
