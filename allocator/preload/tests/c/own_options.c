/* Fills and frees 64 MiB each of large and of small blocks; prints what is mapped then, and
 * later; with the argument `wait` after two seconds in which little happens. */
#include "check.h"
#include <time.h>

struct totals {
    uint64_t mapped_bytes, live_bytes, superblock_bytes, allocations, frees, in_hand, foreign_frees;
};

static uint64_t mapped(void) {
    void (*lfalloc_totals)(struct totals *, size_t);
    void *found = dlsym(RTLD_DEFAULT, "lfalloc_totals");
    memcpy(&lfalloc_totals, &found, sizeof found);
    struct totals now;
    lfalloc_totals(&now, sizeof now);
    return now.mapped_bytes;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    enum { small = 64 << 10, large = 64 };
    static void *blocks[small], *others[large];
    for (int i = 0; i < small; i++) memset(blocks[i] = malloc(1000), 1, 1000);
    for (int i = 0; i < large; i++) memset(others[i] = malloc(1 << 20), 1, 1 << 20);
    for (int i = 0; i < small; i++) free(blocks[i]);
    for (int i = 0; i < large; i++) free(others[i]);
    uint64_t freed = mapped();
    int rounds = argc > 1 && strcmp(argv[1], "wait") == 0 ? 100 : 1;
    for (int round = 0; round < rounds; round++) {
        nanosleep(&(struct timespec){.tv_nsec = 25000000}, NULL);
        free(malloc(200000));
    }
    char text[60];
    int length = snprintf(text, sizeof text, "%lu %lu\n", (unsigned long)freed, (unsigned long)mapped());
    ssize_t written = write(1, text, (size_t)length);
    (void)written;
    return finish();
}
