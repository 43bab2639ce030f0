/* What the environment says is read once, at the start; what can go wrong there, and at the end. One case a run. */
#include "check.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

/* Reading whether the environment is to be trusted allocates. */
unsigned long getauxval(unsigned long type) {
    unsigned long (*real)(unsigned long);
    free(hide_pointer(malloc(100)));
    *(void **)&real = dlsym(RTLD_NEXT, "getauxval");
    return real(type);
}

static void work(void) {
    enum { count = 20000 };
    static void *blocks[count];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < count; i++) blocks[i] = malloc((size_t)(i % 3000));
        for (int i = 0; i < count; i++) free(blocks[i]);
        for (int i = 0; i < 100; i++) blocks[i] = malloc(1 << 20);
        for (int i = 0; i < 100; i++) free(blocks[i]);
    }
}

/* What is set later is for other programs. */
static void late(void) {
    static const char *names[] = {"MAGAZINES", "THP",   "KEEP_LARGE", "RESERVE",
                                  "PURGE_MS",  "AGENT", "STATS"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[64];
        snprintf(name, sizeof name, "LFALLOC_%s", names[i]);
        REQUIRE(setenv(name, "nonsense", 1) == 0);
    }
    work();
}

/* As coreutils do. */
static void closed(void) { REQUIRE(close(2) == 0); }

/* Every descriptor is another file than it was. */
static void replaced(const char *path) {
    int file = open(path, O_WRONLY | O_CREAT, 0600);
    REQUIRE(file >= 0);
    for (int i = 0; i < 512; i++) REQUIRE(dup2(file, i) == i);
}

/* Without any memory a block becomes smaller. */
static void shrink(void) {
    static const size_t from[] = {1 << 20, 130000, 3000, 300}, to[] = {1000, 100, 200, 20};
    char *blocks[4];
    for (int i = 0; i < 4; i++) {
        REQUIRE((blocks[i] = malloc(from[i])) != NULL);
        memset(blocks[i], i + 1, from[i]);
    }
    struct rlimit limit = {1 << 20, 1 << 20};
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    for (size_t size = 1 << 20; size > 0; size /= 2)
        while (hide_pointer(malloc(size)) != NULL) {}
    for (int i = 0; i < 4; i++) {
        char *block = realloc(hide_pointer(blocks[i]), to[i]);
        CHECK(block != NULL);
        for (size_t j = 0; block != NULL && j < to[i]; j++) CHECK(block[j] == i + 1);
        errno = 0;
        CHECK(realloc(hide_pointer(block), from[0] * 2) == NULL && errno == ENOMEM);
    }
}

int main(int argc, char **argv) {
    begin(argc, argv);
    REQUIRE(argc > 1);
    if (strcmp(argv[1], "late") == 0) late();
    if (strcmp(argv[1], "closed") == 0) closed();
    if (strcmp(argv[1], "replaced") == 0) replaced(argv[2]);
    if (strcmp(argv[1], "shrink") == 0) shrink();
    return finish();
}
