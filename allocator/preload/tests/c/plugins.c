/* Opens plugins until there is no static thread-local storage left for them, with threads that were
 * there before and that come after; prints how many could be opened. The folder is given. */
#include "check.h"
#include "pattern.h"
#include <malloc.h>
#include <pthread.h>

enum { each = 80 };
static char *(*storage[2 * each])(void);
static int opened;
static pthread_barrier_t all_there, all_opened;

static void work(void) {
    for (int i = 0; i < opened; i++) {
        char *mine = storage[i]();
        CHECK(mine != NULL && mine[0] == 0);
        mine[0] = 1;
        free(malloc((size_t)i * 10));
    }
    for (size_t size = 1; size < 1 << 20; size *= 2) {
        void *block = malloc(size);
        REQUIRE(block != NULL);
        fill(block, size, size);
        CHECK(intact(block, size, size));
        free(block);
    }
    for (int i = 0; i < opened; i++) CHECK(storage[i]()[0] == 1);
}

static void *from_before(void *argument) {
    (void)argument;
    free(malloc(100));
    pthread_barrier_wait(&all_there);
    pthread_barrier_wait(&all_opened);
    work();
    return NULL;
}

static void *from_after(void *argument) {
    (void)argument;
    work();
    return NULL;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    REQUIRE(argc > 1);
    pthread_t threads[8];
    pthread_barrier_init(&all_there, NULL, 5);
    pthread_barrier_init(&all_opened, NULL, 5);
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, from_before, NULL) == 0);
    pthread_barrier_wait(&all_there);
    static const char *const kinds[] = {"static", "dynamic"};
    for (int kind = 0; kind < 2; kind++) {
        int before = opened;
        for (int i = 0; i < each; i++) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s%d.so", argv[1], kinds[kind], i);
            void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
            if (handle == NULL) {
                CHECK(strstr(dlerror(), "static TLS") != NULL);
                break;
            }
            void *found = dlsym(handle, "plugin_storage");
            REQUIRE(found != NULL);
            memcpy(&storage[opened++], &found, sizeof found);
        }
        printf("%s %d\n", kinds[kind], opened - before);
    }
    pthread_barrier_wait(&all_opened);
    work();
    for (int i = 4; i < 8; i++) REQUIRE(pthread_create(&threads[i], NULL, from_after, NULL) == 0);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    return finish();
}
