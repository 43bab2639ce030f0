/* The calls of lfalloc.h: what they count is what the program does, to the block. One case a run. */
#include "check.h"
#include "pattern.h"
#include "../../lfalloc.h"
#include <dirent.h>
#include <malloc.h>
#include <pthread.h>

static struct lfalloc_totals totals(void) {
    struct lfalloc_totals now;
    memset(&now, 0xee, sizeof now);
    lfalloc_totals(&now, sizeof now);
    return now;
}

/* N blocks of one size are N allocations, and as many live bytes as their usable sizes. */
static void figures(void) {
    static const size_t sizes[] = {0, 1, 16, 100, 1000, 4096, 40000, 131072, 131073, 1 << 20};
    enum { count = 500 };
    static void *blocks[count];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i], usable = 0, asked = size > 65536 ? 20 : count;
        struct lfalloc_totals before = totals();
        for (size_t j = 0; j < asked; j++) {
            blocks[j] = malloc(size);
            REQUIRE(blocks[j] != NULL);
            memset(blocks[j], 1, size);
        }
        struct lfalloc_totals during = totals();
        for (size_t j = 0; j < asked; j++) usable += malloc_usable_size(blocks[j]);
        CHECK(during.allocations == before.allocations + asked);
        CHECK(during.frees == before.frees);
        uint64_t live = during.live_bytes - before.live_bytes;
        /* What is usable of a large block can be less than its mapping. */
        CHECK(live >= usable);
        CHECK(size > 131072 || live == usable);
        CHECK(live <= asked * (size + size / 4 + 16) + (size > 131072 ? asked * 65536 : 0));
        CHECK(during.mapped_bytes >= during.live_bytes);
        CHECK(during.mapped_bytes >= during.superblock_bytes);
        CHECK(during.in_hand == 0);
        for (size_t j = 0; j < asked; j++) free(blocks[j]);
        struct lfalloc_totals after = totals();
        CHECK(after.allocations == during.allocations);
        CHECK(after.frees == during.frees + asked);
        CHECK(after.live_bytes == before.live_bytes);
        CHECK(after.metadata_bytes > 0 && after.metadata_bytes < after.mapped_bytes);
        CHECK(after.foreign_frees == 0);
    }
    /* Other names count the same way, and what fails does not count. */
    struct lfalloc_totals before = totals();
    void *block = calloc(3, 100);
    block = realloc(block, 20);
    free(block);
    REQUIRE(posix_memalign(&block, 4096, 100) == 0);
    free(block);
    free(NULL);
    CHECK(malloc(hide(SIZE_MAX)) == NULL && malloc(hide((size_t)1 << 50)) == NULL);
    struct lfalloc_totals after = totals();
    CHECK(after.allocations - before.allocations == after.frees - before.frees);
    CHECK(after.allocations - before.allocations >= 2);
    CHECK(after.allocations - before.allocations <= 3);
    CHECK(after.live_bytes == before.live_bytes);
}

/* As much is written as the caller's struct has room for. */
static void sizes_of_the_struct(void) {
    struct {
        struct lfalloc_totals now;
        unsigned char more[64];
    } room;
    for (size_t size = 0; size <= sizeof room; size++) {
        memset(&room, 0xee, sizeof room);
        lfalloc_totals(&room.now, size);
        const unsigned char *bytes = (const unsigned char *)&room;
        for (size_t i = size; i < sizeof room; i++) CHECK(bytes[i] == 0xee);
        if (size >= 8) CHECK(room.now.mapped_bytes != 0xeeeeeeeeeeeeeeee);
        if (size >= sizeof room.now) {
            CHECK(room.now.foreign_frees == 0);
            CHECK(room.now.metadata_bytes <= room.now.mapped_bytes);
        }
    }
}

static size_t resident(void) {
    size_t total = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    REQUIRE(file != NULL && fscanf(file, "%zu %zu", &total, &pages) == 2);
    fclose(file);
    return pages * 4096;
}

static void purge(void) {
    enum { count = 20000 };
    static void *blocks[count];
    void *kept = malloc(1000);
    fill(kept, 1000, 1);
    for (int i = 0; i < count; i++) {
        blocks[i] = malloc(2000);
        REQUIRE(blocks[i] != NULL);
        memset(blocks[i], 1, 2000);
    }
    for (int i = 0; i < count; i++) free(blocks[i]);
    for (int i = 0; i < 8; i++) {
        blocks[i] = malloc(4 << 20);
        REQUIRE(blocks[i] != NULL);
        memset(blocks[i], 1, 4 << 20);
    }
    for (int i = 0; i < 8; i++) free(blocks[i]);
    struct lfalloc_totals before = totals();
    size_t resident_before = resident();
    long long bytes = lfalloc_purge();
    struct lfalloc_totals after = totals();
    CHECK(bytes >= 0);
    CHECK(after.mapped_bytes + (uint64_t)bytes == before.mapped_bytes);
    /* Of 32 MiB of large blocks at least was nothing needed any more. */
    CHECK(resident_before - resident() > 16 << 20);
    CHECK(after.live_bytes == before.live_bytes);
    CHECK(after.mapped_bytes < 16 << 20);
    CHECK(intact(kept, 1000, 1));
    free(kept);
    CHECK(lfalloc_purge() >= 0);
    /* malloc_trim is the same by another name. */
    void *again = malloc(2000);
    REQUIRE(again != NULL);
    memset(again, 1, 2000);
    free(again);
}

static int entries(const char *folder) {
    DIR *directory = opendir(folder);
    REQUIRE(directory != NULL);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

/* The folder for sockets is given. Starting is idempotent, stopping leaves nothing. */
static void agent(const char *sockets) {
    /* The first readdir takes memory that the C library keeps. */
    CHECK(entries(sockets) == 0 && entries("/proc/self/task") == 1);
    int descriptors = entries("/proc/self/fd");
    for (int round = 0; round < 3; round++) {
        struct lfalloc_totals before = totals();
        CHECK(lfalloc_agent_start() == 0);
        struct lfalloc_totals during = totals();
        CHECK(during.live_bytes <= before.live_bytes + 1024);
        CHECK(during.foreign_frees == 0);
        CHECK(lfalloc_agent_start() == 0);
        CHECK(entries(sockets) >= 1);
        CHECK(entries("/proc/self/task") == 2);
        lfalloc_agent_stop();
        CHECK(entries(sockets) == 0);
        CHECK(entries("/proc/self/task") == 1);
        lfalloc_agent_stop();
        CHECK(totals().live_bytes <= before.live_bytes + 1024);
    }
    CHECK(entries("/proc/self/fd") == descriptors);
}

/* LFALLOC_DIR names a folder that is none. */
static void agent_without_folder(void) {
    struct lfalloc_totals before = totals();
    CHECK(lfalloc_agent_start() > 0);
    CHECK(entries("/proc/self/task") == 1);
    lfalloc_agent_stop();
    CHECK(totals().live_bytes <= before.live_bytes + 1024);
}

/* While the agent runs the program goes on as ever, its threads and children too. */
static void *work(void *argument) {
    uint64_t state = (uintptr_t)argument * 7919;
    for (int i = 0; i < 100000; i++) {
        void *block = malloc(random_next(&state) % 2000);
        REQUIRE(block != NULL);
        free(block);
    }
    return NULL;
}

static void beside_the_agent(void) {
    CHECK(lfalloc_agent_start() == 0);
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    work((void *)9);
    /* It ends with the program, whether it was stopped or not. */
}

int main(int argc, char **argv) {
    begin(argc, argv);
    REQUIRE(argc > 1);
    const char *what = argv[1];
    if (strcmp(what, "figures") == 0) figures();
    else if (strcmp(what, "sizes") == 0) sizes_of_the_struct();
    else if (strcmp(what, "purge") == 0) purge();
    else if (strcmp(what, "agent") == 0) agent(argv[2]);
    else if (strcmp(what, "no-folder") == 0) agent_without_folder();
    else if (strcmp(what, "beside") == 0) beside_the_agent();
    else REQUIRE(!"a case that exists");
    return finish();
}
