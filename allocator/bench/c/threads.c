/* Several threads: objects of their own, handed over, and left behind. */
#define _GNU_SOURCE
#include "churn.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MOST_THREADS = 8 };

static struct thread {
    pthread_t thread;
    void (*work)(struct thread *thread);
    int number;
    uint64_t operations, start, end;
    struct objects objects;
} threads[MOST_THREADS];
static pthread_barrier_t barrier;
static uint32_t sizes[SIZES];

static void *run(void *argument)
{
    struct thread *thread = argument;
    pthread_barrier_wait(&barrier);
    thread->start = now_ns();
    thread->work(thread);
    thread->end = now_ns();
    return NULL;
}

static void spawn(pthread_t *thread, void *(*function)(void *), void *argument)
{
    if (pthread_create(thread, NULL, function, argument))
        fail("no thread");
}

/* Time is from the first one's start to the last one's end. */
static struct done in_threads(size_t count, void (*work)(struct thread *), uint64_t operations)
{
    uint64_t start = UINT64_MAX, end = 0, done = 0;
    pthread_barrier_init(&barrier, NULL, (unsigned)count);
    for (size_t number = 0; number < count; number++) {
        threads[number].work = work;
        threads[number].number = (int)number;
        threads[number].operations = operations / count + 1;
        spawn(&threads[number].thread, run, &threads[number]);
    }
    for (size_t number = 0; number < count; number++) {
        pthread_join(threads[number].thread, NULL);
        if (threads[number].start < start)
            start = threads[number].start;
        if (threads[number].end > end)
            end = threads[number].end;
        done += threads[number].operations;
    }
    pthread_barrier_destroy(&barrier);
    return (struct done){done, end - start};
}

/* `first` threads have `second` objects each. */
static void start(const struct work *work)
{
    draw_sizes(sizes, SMALL);
    for (size_t number = 0; number < work->first; number++)
        fill_objects(&threads[number].objects, work->second, sizes, number);
}

static void end(const struct work *work)
{
    for (size_t number = 0; number < work->first; number++)
        free_objects(&threads[number].objects);
}

static void replace(struct thread *thread)
{
    replace_objects(&thread->objects, thread->operations);
}

static struct done churn(const struct work *work, uint64_t operations)
{
    return in_threads(work->first, replace, operations);
}

/* A thread replaces so many objects and leaves all to a successor. */
enum { TENURE = 10000 };

static void *tenure(void *argument)
{
    replace_objects(argument, TENURE);
    return NULL;
}

static void successors(struct thread *thread)
{
    uint64_t done = 0;
    for (; done < thread->operations; done += TENURE) {
        pthread_t one;
        spawn(&one, tenure, &thread->objects);
        pthread_join(one, NULL);
    }
    thread->operations = done;
}

static struct done larson(const struct work *work, uint64_t operations)
{
    return in_threads(work->first, successors, operations);
}

/* Batches of blocks go from one thread to the other through a ring. */
enum { BATCH = 256, RING = 16 };
static void *ring[RING][BATCH];
static _Atomic uint64_t given, taken;

static void hand_over(struct thread *thread)
{
    uint64_t batches = (thread->operations + BATCH - 1) / BATCH;
    for (uint64_t number = 0; number < batches; number++) {
        void **batch = ring[number % RING];
        if (thread->number == 0) {
            while (number - atomic_load_explicit(&taken, memory_order_acquire) >= RING)
                sched_yield();
            for (int place = 0; place < BATCH; place++) {
                batch[place] = malloc(64);
                mark(batch[place]);
            }
            atomic_store_explicit(&given, number + 1, memory_order_release);
        } else {
            while (atomic_load_explicit(&given, memory_order_acquire) <= number)
                sched_yield();
            for (int place = 0; place < BATCH; place++) {
                check(batch[place]);
                free(batch[place]);
            }
            atomic_store_explicit(&taken, number + 1, memory_order_release);
        }
    }
    /* The one counts mallocs and the other frees: half an operation each. */
    thread->operations = batches * BATCH / 2;
}

static struct done pass(const struct work *work, uint64_t operations)
{
    given = taken = 0;
    return in_threads(work->first, hand_over, operations * 2);
}

/* A thread starts, allocates 100 blocks, frees 90 and the 10 that the one before has left, and ends. */
enum { BLOCKS = 100, LEFT = 10 };
static void *left[LEFT];

static void *short_life(void *argument)
{
    void *blocks[BLOCKS];
    (void)argument;
    for (int place = 0; place < BLOCKS; place++) {
        blocks[place] = malloc(sizes[place]);
        mark(blocks[place]);
    }
    for (int place = 0; place < LEFT; place++)
        free(left[place]);
    for (int place = 0; place < BLOCKS; place++) {
        if (place < LEFT) {
            left[place] = blocks[place];
        } else {
            check(blocks[place]);
            free(blocks[place]);
        }
    }
    return NULL;
}

static struct done lives(const struct work *work, uint64_t operations)
{
    uint64_t start = now_ns();
    (void)work;
    for (uint64_t number = 0; number < operations; number++) {
        pthread_t one;
        spawn(&one, short_life, NULL);
        pthread_join(one, NULL);
    }
    return (struct done){operations, now_ns() - start};
}

const struct work thread_works[] = {
    {"churn 10k, 2 threads", start, churn, end, 2, 10000},
    {"churn 2k, 8 threads", start, churn, end, 8, 2000},
    {"hand-over 1:1", NULL, pass, NULL, 2, 0},
    {"larson, 4 threads", start, larson, end, 4, 1000},
    {"thread churn", start, lives, NULL, 0, 0},
    {0},
};
