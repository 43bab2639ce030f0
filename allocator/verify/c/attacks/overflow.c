/* Who holds a block writes beyond its end, or before its beginning. */
#define _GNU_SOURCE
#include "attacks.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>

static char *end_of(char *block, size_t asked)
{
    return block + usable(block, asked);
}

static void write_random(char *at, size_t bytes)
{
    for (size_t byte = 0; byte < bytes; byte++)
        ((volatile char *)at)[byte] = (char)chance();
}

/* From a block into the free one above it. */
static _Noreturn void into_free(size_t bytes, int is_zero)
{
    struct field field = make_field();
    size_t at = any_free(&field);
    char *below = field.blocks[at - 1], *end = end_of(below, FIELD_BYTES);
    attack_begins(below, end + bytes - below);
    if (is_zero)
        memset(end, 0, bytes);
    else
        write_random(end, bytes);
    give_at_last(below);
    conclude(FIELD_BYTES, ALL_BLOCKS);
}

static void one_zero(void)
{
    into_free(1, 1);
}

static void one(void)
{
    into_free(1, 0);
}

static void eight(void)
{
    into_free(8, 0);
}

static void sixteen(void)
{
    into_free(16, 0);
}

static void sixty_four(void)
{
    into_free(64, 0);
}

/* From a block into the free one below it. */
static void under_free(void)
{
    struct field field = make_field();
    size_t at = any_free(&field);
    char *above = field.blocks[at + 1];
    attack_begins(above - 64, 64 + FIELD_BYTES);
    write_random(above - 64, 64);
    give_at_last(above);
    conclude(FIELD_BYTES, ALL_BLOCKS);
}

/* Three neighbours that are held, each full of its mark. */
struct neighbours {
    char *blocks[3];
};

static struct neighbours neighbours(void)
{
    struct field field = make_field();
    struct neighbours found = {{0}};
    char *last[3] = {0};
    /* Those of the field that are free lie between others: filled again, all are side by side. */
    for (int number = 0; number < ALL_BLOCKS; number++)
        hold(take(FIELD_BYTES), FIELD_BYTES);
    size_t at = any_free(&field);
    memcpy(last, field.blocks + at - 1, sizeof last);
    for (int number = 0; number < 3; number++) {
        memset(last[number], 'a' + number, FIELD_BYTES);
        found.blocks[number] = last[number];
    }
    return found;
}

/* After the middle one wrote where it should not have: its neighbours are looked at, then all three are freed. */
static _Noreturn void conclude_neighbours(struct neighbours three)
{
    attack_is_done();
    int spoiled = 0;
    for (int number = 0; number < 3; number += 2)
        for (int byte = 0; byte < FIELD_BYTES; byte++)
            spoiled |= three.blocks[number][byte] != 'a' + number;
    give(three.blocks[1]);
    give(three.blocks[0]);
    give(three.blocks[2]);
    for (int number = 0; number < 1000; number++)
        give(take(FIELD_BYTES));
    finish(spoiled ? WENT_THROUGH : IGNORED);
}

static _Noreturn void into_live(size_t bytes)
{
    struct neighbours three = neighbours();
    char *end = end_of(three.blocks[1], FIELD_BYTES);
    attack_begins(three.blocks[1], end + bytes - three.blocks[1]);
    write_random(end, bytes);
    conclude_neighbours(three);
}

static void live_one(void)
{
    into_live(1);
}

static void live_8(void)
{
    into_live(8);
}

static void live_64(void)
{
    into_live(64);
}

static _Noreturn void before_live(size_t bytes)
{
    struct neighbours three = neighbours();
    attack_begins(three.blocks[1] - bytes, bytes + FIELD_BYTES);
    write_random(three.blocks[1] - bytes, bytes);
    conclude_neighbours(three);
}

static void before_8(void)
{
    before_live(8);
}

static void before_16(void)
{
    before_live(16);
}

/* The size that glibc keeps before a block covers the next one, too, so that both are handed out as one. */
static void size_forged(void)
{
    enum { BYTES = 248 };
    char *below = take(BYTES), *block = take(BYTES), *above = take(BYTES);
    hold(below, BYTES);
    hold(above, BYTES);
    hold(take(BYTES), BYTES);
    attack_begins(below, BYTES);
    write_word(end_of(below, BYTES), 0x201);
    give(block);
    give_at_last(below);
    conclude(0x1f0, 100);
}

/* glibc takes a free neighbour out of a list that leads both ways: two forged addresses make it write one of them where a pointer to
 * the block lies. */
static void unlinked(void)
{
    enum { BYTES = 0x420 };
    static char *pointer;
    pointer = take(BYTES);
    char *above = take(BYTES);
    hold(take(BYTES), BYTES);
    uint64_t *fake = (uint64_t *)pointer;
    fake[1] = BYTES;
    fake[2] = (uintptr_t)&pointer - 24;
    fake[3] = (uintptr_t)&pointer - 16;
    char *before = pointer;
    attack_begins(before, BYTES);
    write_word(above - 16, BYTES);
    write_word(above - 8, BYTES + 16);
    give(above);
    attack_is_done();
    if (*(char *volatile *)&pointer != before)
        finish(WENT_THROUGH);
    give_at_last(pointer);
    conclude(BYTES, 100);
}

static char target[4096] __attribute__((aligned(4096)));
static sigjmp_buf fault;

static void faulted(int signal)
{
    (void)signal;
    siglongjmp(fault, 1);
}

/* An address is written over everything from a block on until there is no memory any more: blocks, and whatever of the
 * allocator's own lies behind them or before. */
static _Noreturn void far(int step)
{
    struct field field = make_field();
    stack_t apart = {.ss_sp = pages(1 << 16), .ss_size = 1 << 16};
    struct sigaction action = {.sa_handler = faulted, .sa_flags = SA_ONSTACK}, old;
    if (sigaltstack(&apart, NULL) || sigaction(SIGSEGV, &action, &old))
        broken("no handler");
    char *end = field.blocks[step > 0 ? FIELD_BLOCKS - 1 : 0];
    attack_begins(end, FIELD_BYTES);
    /* What lies there may be ours: nothing of it is used behind here. */
    volatile uint64_t *volatile place = (uint64_t *)end;
    if (!sigsetjmp(fault, 1))
        for (size_t words = 0; words < (size_t)8 << 20; words++) {
            place += step;
            *place = (uintptr_t)(target + 64);
        }
    sigaction(SIGSEGV, &old, NULL);
    attack_is_done();
    for (int number = 0; number < 20000; number++) {
        static const size_t SIZES[] = {FIELD_BYTES, 16, 256, 1024, 40000};
        char *block = take(SIZES[number % 5]);
        if (block + 64 > target && block < target + sizeof target)
            finish(WENT_THROUGH);
    }
    finish(IGNORED);
}

static void far_up(void)
{
    far(1);
}

static void far_down(void)
{
    far(-1);
}

const struct attack overflow_attacks[] = {
    {"over-zero", one_zero, 20, "one byte beyond the end, zero, into a free neighbour"},
    {"over-1", one, 20, "one random byte into a free neighbour"},
    {"over-8", eight, 20, "8 random bytes into a free neighbour"},
    {"over-16", sixteen, 20, "16 random bytes into a free neighbour"},
    {"over-64", sixty_four, 20, "64 random bytes into a free neighbour"},
    {"under-64", under_free, 20, "64 random bytes before the beginning, into a free neighbour"},
    {"over-live-1", live_one, 5, "one random byte into a neighbour in use (*)"},
    {"over-live-8", live_8, 5, "8 random bytes into a neighbour in use (*)"},
    {"over-live-64", live_64, 5, "64 random bytes into a neighbour in use (*)"},
    {"under-live-8", before_8, 5, "8 random bytes before the beginning, below a neighbour in use (*)"},
    {"under-live-16", before_16, 5, "16 random bytes before the beginning, below a neighbour in use (*)"},
    {"size-forged", size_forged, 1, "glibc's size of the neighbour, forged, then freed"},
    {"unlink", unlinked, 1, "glibc's two-way list, forged, then freed"},
    {"far-up", far_up, 10, "an address over everything above"},
    {"far-down", far_down, 10, "an address over everything below"},
    {0},
};
