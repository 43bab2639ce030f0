/* Every way a thread can end, with allocations until its last moment and after it. */
#include "check.h"
#include "pattern.h"
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

static pthread_key_t keys[4];
static atomic_int destructors;

static void work(uint64_t seed, int rounds) {
    void *blocks[64] = {0};
    size_t sizes[64] = {0};
    for (int round = 0; round < rounds; round++) {
        int i = round % 64;
        if (blocks[i] != NULL) CHECK(intact(blocks[i], sizes[i], seed + (uint64_t)i));
        free(blocks[i]);
        sizes[i] = (size_t)random_next(&seed) % 3000;
        blocks[i] = malloc(sizes[i]);
        REQUIRE(blocks[i] != NULL);
        sizes[i] = 0;
    }
    for (int i = 0; i < 64; i++) free(blocks[i]);
}

/* Runs while the thread ends; the first rounds set the key again, as long as POSIX lets them. */
static void destroy(void *value) {
    atomic_fetch_add(&destructors, 1);
    int round = *(int *)value;
    free(value);
    work(7, 200);
    void *large = malloc(200000);
    memset(large, 1, 200000);
    free(large);
    if (round < 2) {
        int *again = malloc(sizeof *again);
        *again = round + 1;
        for (int i = 0; i < 4; i++)
            if (pthread_getspecific(keys[i]) == NULL) {
                pthread_setspecific(keys[i], again);
                return;
            }
        free(again);
    }
}

static void *with_destructors(void *argument) {
    (void)argument;
    for (int i = 0; i < 4; i++) {
        int *value = calloc(1, sizeof *value);
        pthread_setspecific(keys[i], value);
    }
    work(3, 500);
    return malloc(100);
}

static atomic_int running;

static void cleanup(void *block) { free(block); }

static void *until_cancelled(void *argument) {
    (void)argument;
    void *held = malloc(1000);
    pthread_cleanup_push(cleanup, held);
    atomic_fetch_add(&running, 1);
    for (size_t size = 1;; size = size * 5 % 70001) {
        void *block = malloc(size);
        void *zero = calloc(1, size / 2);
        block = realloc(block, size + 100);
        free(zero);
        free(block);
        pthread_testcancel();
    }
    pthread_cleanup_pop(1);
    return NULL;
}

static void cancelled(void) {
    for (int round = 0; round < 40; round++) {
        pthread_t threads[4];
        atomic_store(&running, 0);
        for (int i = 0; i < 4; i++)
            REQUIRE(pthread_create(&threads[i], NULL, until_cancelled, NULL) == 0);
        while (atomic_load(&running) < 4) sched_yield();
        for (int i = 0; i < 4; i++) {
            nanosleep(&(struct timespec){.tv_nsec = 1000 * (round % 50)}, NULL);
            CHECK(pthread_cancel(threads[i]) == 0);
        }
        for (int i = 0; i < 4; i++) {
            void *result = NULL;
            CHECK(pthread_join(threads[i], &result) == 0 && result == PTHREAD_CANCELED);
        }
        work((uint64_t)round + 1, 100);
    }
}

/* Neither destructor nor the C library's own end: the thread is just gone. */
static void *raw_exit(void *argument) {
    void **place = argument;
    work(11, 300);
    *place = malloc(5000);
    memset(*place, 1, 5000);
    syscall(SYS_exit, 0);
    return NULL;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    for (int i = 0; i < 4; i++) REQUIRE(pthread_key_create(&keys[i], destroy) == 0);
    for (int round = 0; round < 100; round++) {
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
            REQUIRE(pthread_create(&threads[i], NULL, with_destructors, NULL) == 0);
        for (int i = 0; i < 4; i++) {
            void *result;
            CHECK(pthread_join(threads[i], &result) == 0);
            free(result);
        }
    }
    CHECK(atomic_load(&destructors) >= 1600);
    cancelled();
    for (int round = 0; round < 200; round++) {
        pthread_t threads[4];
        void *left[4];
        for (int i = 0; i < 4; i++)
            REQUIRE(pthread_create(&threads[i], NULL, raw_exit, &left[i]) == 0);
        for (int i = 0; i < 4; i++) {
            CHECK(pthread_join(threads[i], NULL) == 0);
            free(left[i]);
        }
    }
    work(5, 1000);
    return finish();
}
