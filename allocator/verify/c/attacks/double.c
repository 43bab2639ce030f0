/* A block is freed twice: at once, later, on another thread, from a handler, after a fork. */
#define _GNU_SOURCE
#include "attacks.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SMALL = 64, MIDDLE = 40000, LARGE = 1 << 20, HUGE = 64 << 20 };
/* So many are taken then: also those who hand out last what was freed first come to it. */
enum { MANY = 30000, MANY_MIDDLE = 1000 };

static void again(void *block, size_t bytes)
{
    attack_begins(block, bytes);
    give(block);
}

/* Frees one, `between` others, and the one again; then takes `taken`. */
static _Noreturn void twice(size_t bytes, size_t between, size_t taken)
{
    void **others = pages((between + 1) * sizeof *others);
    void *block = take(bytes);
    for (size_t at = 0; at < between; at++)
        others[at] = take(bytes);
    /* What lies behind all of them is held, so that nothing that was freed is merged with it. */
    hold(take(bytes), bytes);
    give(block);
    for (size_t at = 0; at < between; at++)
        give(others[at]);
    again(block, bytes);
    conclude(bytes, taken);
}

static void in_a_row(void)
{
    twice(SMALL, 0, MANY);
}

/* What some keep in freed blocks to know them again is gone. */
static void written_between(void)
{
    char *block = take(SMALL);
    hold(take(SMALL), SMALL);
    give(block);
    memset(block, 0x41, SMALL);
    again(block, SMALL);
    conclude(SMALL, MANY);
}

static void after_one(void)
{
    twice(SMALL, 1, MANY);
}

static void after_ten(void)
{
    twice(SMALL, 10, MANY);
}

static void after_300(void)
{
    twice(SMALL, 300, MANY);
}

static void after_10000(void)
{
    twice(SMALL, 10000, MANY);
}

static void middle(void)
{
    twice(MIDDLE, 0, MANY_MIDDLE);
}

static void middle_after_100(void)
{
    twice(MIDDLE, 40, MANY_MIDDLE);
}

static void large(void)
{
    twice(LARGE, 0, 50);
}

static void large_after_ten(void)
{
    twice(LARGE, 10, 50);
}

static void huge(void)
{
    twice(HUGE, 0, 4);
}

/* Somewhere in a field of which all other blocks are held: its superblock, or what others call it, is full. */
static void full(void)
{
    void **blocks = pages(FIELD_BLOCKS * sizeof *blocks);
    for (int at = 0; at < FIELD_BLOCKS; at++)
        blocks[at] = take(SMALL);
    size_t chosen = FIELD_BLOCKS / 2;
    for (int at = 0; at < FIELD_BLOCKS; at++)
        if ((size_t)at != chosen)
            hold(blocks[at], SMALL);
    give(blocks[chosen]);
    /* Something else in between, so that it is not the last that was freed. */
    give(take(SMALL / 2));
    again(blocks[chosen], SMALL);
    conclude(SMALL, MANY);
}

/* Long ago: in a field, any of those that were freed. */
static void in_a_field(void)
{
    struct field field = make_field();
    char *block = field.blocks[any_free(&field)];
    again(block, FIELD_BYTES);
    conclude(FIELD_BYTES, ALL_BLOCKS);
}

/* The address is somebody else's by now: no allocator can tell that it is not theirs that is freed. */
static void reused(void)
{
    void *block = take(SMALL), *next = take(SMALL);
    give(block);
    void *victim = take(SMALL);
    for (int tries = 0; victim != block; tries++) {
        if (tries == 100000) {
            remark("not reused");
            finish(IGNORED);
        }
        hold(victim, SMALL);
        victim = take(SMALL);
    }
    hold(next, SMALL);
    hold(victim, SMALL);
    again(block, SMALL);
    conclude(SMALL, MANY);
}

static void *free_it(void *block)
{
    give(block);
    return NULL;
}

static void other_thread(void)
{
    void *block = take(SMALL);
    pthread_t thread;
    if (pthread_create(&thread, NULL, free_it, block) || pthread_join(thread, NULL))
        broken("no thread");
    again(block, SMALL);
    conclude(SMALL, MANY);
}

static atomic_uint arrived;
static void *raced;
static void *taken_by[2];

/* Both wait for each other, free the same block, wait, and take one. */
static void meet(unsigned *round)
{
    *round += 2;
    atomic_fetch_add(&arrived, 1);
    /* The other one may wait for this processor. */
    for (int spins = 1; atomic_load(&arrived) < *round; spins++)
        if (spins % 10000 == 0)
            sched_yield();
}

enum { RACES = 200 };

static void *race(void *own)
{
    unsigned round = 0;
    for (int number = 0; number < RACES; number++) {
        if (own == &taken_by[0]) {
            raced = take(SMALL);
            attack_begins(raced, SMALL);
        }
        meet(&round);
        give(raced);
        meet(&round);
        if (own == &taken_by[0])
            attack_is_done();
        *(void **)own = take(SMALL);
        meet(&round);
        if (taken_by[0] == taken_by[1])
            finish(WENT_THROUGH);
    }
    return NULL;
}

static void at_once(void)
{
    run_anywhere();
    pthread_t thread;
    if (pthread_create(&thread, NULL, race, &taken_by[1]))
        broken("no thread");
    race(&taken_by[0]);
    pthread_join(thread, NULL);
    finish(IGNORED);
}

static void *volatile at_risk;
static volatile sig_atomic_t freed_in_handler;

static void free_at_risk(int signal)
{
    (void)signal;
    void *block = at_risk;
    if (block) {
        at_risk = NULL;
        freed_in_handler = 1;
        give(block);
    }
}

/* A handler frees what the interrupted thread is about to free, is freeing, or has just freed. */
static void handler(void)
{
    struct sigaction action = {.sa_handler = free_at_risk, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 50}, {0, 50}};
    if (sigaction(SIGALRM, &action, NULL) || setitimer(ITIMER_REAL, &often, NULL))
        broken("no timer");
    struct timespec now, start;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    do {
        for (int number = 0; number < 1000; number++) {
            void *block = take(SMALL);
            attack_begins(block, SMALL);
            at_risk = block;
            give(block);
            at_risk = NULL;
            if (freed_in_handler) {
                setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
                conclude(SMALL, MANY);
            }
        }
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    } while (now.tv_sec - start.tv_sec < 2);
    broken("no signal came at the right moment");
}

/* The parent has freed it, the child frees it again. */
static void in_a_child(void)
{
    void *block = take(SMALL), *other = take(SMALL);
    give(block);
    give(other);
    pid_t child = fork();
    if (child < 0)
        broken("no fork");
    if (child == 0) {
        again(block, SMALL);
        conclude(SMALL, MANY);
    }
    int status;
    if (waitpid(child, &status, 0) != child)
        broken("no child");
    if (WIFEXITED(status))
        finish(WEXITSTATUS(status));
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
    broken("that signal ends nothing");
}

/* A block is given back to be resized when it is free already. */
static _Noreturn void resized(size_t to)
{
    extern void *realloc(void *, size_t);
    void *block = take(SMALL), *other = take(SMALL);
    give(block);
    give(other);
    attack_begins(block, SMALL);
    void *moved = realloc(block, to);
    if (moved)
        hold(moved, to);
    conclude(SMALL, MANY);
}

static void realloc_same(void)
{
    resized(SMALL);
}

static void realloc_more(void)
{
    resized(3 * SMALL);
}

const struct attack double_attacks[] = {
    {"twice-row", in_a_row, 1, "64 B freed twice in a row"},
    {"twice-row-written", written_between, 1, "64 B freed, written to, freed again"},
    {"twice-one-between", after_one, 1, "64 B freed twice, one other between (A B A)"},
    {"twice-10-between", after_ten, 1, "64 B freed twice, 10 others between"},
    {"twice-300-between", after_300, 1, "64 B freed twice, 300 others between"},
    {"twice-10000-between", after_10000, 1, "64 B freed twice, 10,000 others between"},
    {"twice-field", in_a_field, 20, "64 B freed twice, any of 12,000 freed long ago"},
    {"twice-full", full, 1, "64 B freed twice, all its neighbours in use"},
    {"twice-middle", middle, 1, "40,000 B freed twice in a row"},
    {"twice-middle-100-between", middle_after_100, 1, "40,000 B freed twice, 100 others between"},
    {"twice-large", large, 1, "1 MiB freed twice in a row"},
    {"twice-large-10-between", large_after_ten, 1, "1 MiB freed twice, 10 others between"},
    {"twice-huge", huge, 1, "64 MiB freed twice in a row"},
    {"twice-other-thread", other_thread, 5, "freed by another thread, and again"},
    {"twice-race", at_once, 6, "freed by two threads at the same time (200 races a trial)"},
    {"twice-handler", handler, 6, "freed by a signal's handler during its free"},
    {"twice-child", in_a_child, 1, "freed before a fork, and again in the child (A B A)"},
    {"realloc-freed", realloc_same, 1, "realloc of a freed block to its own size"},
    {"realloc-freed-more", realloc_more, 1, "realloc of a freed block to more"},
    {"stale-free", reused, 1, "freed, handed out to another, freed by the first (*)"},
    {0},
};
