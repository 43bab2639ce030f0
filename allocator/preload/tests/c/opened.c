/* The library opened and closed by hand, preloaded or not, and a second C library in a namespace of
 * its own. The library's path is given; with `alone` it is not preloaded. */
#include "check.h"
#include "pattern.h"
#include <malloc.h>
#include <pthread.h>

static void *(*their_malloc)(size_t);
static void (*their_free)(void *);

static void find(void *handle) {
    void *found = dlsym(handle, "malloc");
    REQUIRE(found != NULL);
    memcpy(&their_malloc, &found, sizeof found);
    found = dlsym(handle, "free");
    REQUIRE(found != NULL);
    memcpy(&their_free, &found, sizeof found);
}

static void *work(void *argument) {
    void *blocks[200];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 200; i++) {
            size_t size = i * i * 4;
            blocks[i] = their_malloc(size);
            REQUIRE(blocks[i] != NULL);
            fill(blocks[i], size, i);
        }
        for (size_t i = 0; i < 200; i++) {
            CHECK(intact(blocks[i], i * i * 4, i));
            their_free(blocks[i]);
        }
    }
    return argument;
}

static void in_threads(void) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) REQUIRE(pthread_create(&threads[i], NULL, work, NULL) == 0);
    work(NULL);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
}

/* After dlclose the library is still there: threads may be in the middle of it, as far as the kernel
 * knows. */
static void open_and_close(const char *library) {
    for (int round = 0; round < 3; round++) {
        void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
        if (handle == NULL) say(dlerror());
        REQUIRE(handle != NULL);
        find(handle);
        in_threads();
        void *kept = their_malloc(1000);
        fill(kept, 1000, 3);
        CHECK(dlclose(handle) == 0);
        CHECK(intact(kept, 1000, 3));
        their_free(kept);
        in_threads();
    }
}

/* It has a malloc of its own, since the preloaded library is not in its namespace. */
static void second_c_library(void) {
    void *handle = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW | RTLD_LOCAL);
    REQUIRE(handle != NULL);
    void *found = dlsym(handle, "strdup");
    char *(*their_strdup)(const char *);
    REQUIRE(found != NULL);
    memcpy(&their_strdup, &found, sizeof found);
    find(handle);
    CHECK((void *)(uintptr_t)their_malloc != dlsym(RTLD_DEFAULT, "malloc"));
    for (int i = 0; i < 1000; i++) {
        char *copy = their_strdup("some words"), *mine = strdup("some words");
        CHECK(strcmp(copy, mine) == 0);
        their_free(copy);
        free(mine);
    }
    work(NULL);
    CHECK(dlclose(handle) == 0);
}

int main(int argc, char **argv) {
    REQUIRE(argc > 1);
    int alone = argc > 2 && strcmp(argv[2], "alone") == 0;
    if (!alone) begin(argc, argv);
    if (ours()) {
        open_and_close(argv[1]);
        /* Closing what was opened by hand does not take it from the program. */
        for (size_t size = 1; size < 1 << 20; size *= 2) free(malloc(size));
    }
    second_c_library();
    return finish();
}
