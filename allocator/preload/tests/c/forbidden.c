/* A library whose allocation functions do what none may, each in another way; for the test of the
 * test of the call graph. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define APART __attribute__((noinline, noipa))

static char arena[4096];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread void *cache;

static APART void *third(size_t size) {
    return getenv("ARENA") != NULL && size < sizeof arena ? arena : NULL;
}
static APART void *second(size_t size) {
    void *block = third(size + 1);
    return block != NULL ? block : arena;
}
static APART void *first(size_t size) {
    void *block = second(size + 1);
    return block != NULL ? block : arena;
}

void *malloc(size_t size) {
    void *block = first(size + 1);
    if (block != NULL) memset(block, 1, 16);
    return block;
}

static APART int locked(void *unused) {
    (void)unused;
    return pthread_mutex_lock(&lock);
}

void *calloc(size_t count, size_t size) { return (void *)(long)locked((void *)(count * size)); }

static APART void *by_pointer(const char *name) { return dlsym(RTLD_NEXT, name); }
void *(*volatile chosen)(const char *) = NULL;

void *realloc(void *block, size_t size) {
    if (size == 1) chosen = by_pointer;
    void *(*call)(const char *) = chosen;
    void *result = call("realloc");
    return result != NULL ? result : block;
}

void *aligned_alloc(size_t alignment, size_t size) {
    if (cache == NULL) cache = arena + alignment + size;
    return cache;
}

void free(void *block) {
    if (block != NULL) memset(block, 0, 16);
}
