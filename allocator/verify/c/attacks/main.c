/* One attack a process: `attacks list`, or `attacks NAME SEED REPORT`, where REPORT is a file of at least a page. */
#define _GNU_SOURCE
#include "attacks.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

struct report *report;
static uint64_t random_state;
/* The processors that we may run on. */
static cpu_set_t all_processors;

static const struct attack *const ALL[] = {double_attacks, invalid_attacks, written_attacks, overflow_attacks, other_attacks};
enum { FILES = sizeof ALL / sizeof *ALL };

static void print(int file, const char *text)
{
    /* Nobody is left to be told if this fails. */
    if (write(file, text, strlen(text)) < 0)
        _exit(BROKEN);
}

_Noreturn void finish(enum outcome outcome)
{
    _exit(outcome);
}

_Noreturn void broken(const char *what)
{
    print(2, what);
    print(2, "\n");
    _exit(BROKEN);
}

void remark(const char *what)
{
    print(1, what);
}

void attack_begins(const void *block, size_t bytes)
{
    report->from = (uintptr_t)block;
    report->to = (uintptr_t)block + bytes;
    report->phase = ATTACKING;
}

void attack_is_done(void)
{
    report->phase = AFTER;
}

static void stay_here(void)
{
    cpu_set_t here;
    int processor = sched_getcpu();
    CPU_ZERO(&here);
    if (processor >= 0)
        CPU_SET(processor, &here);
    if (processor < 0 || sched_getaffinity(0, sizeof all_processors, &all_processors) || sched_setaffinity(0, sizeof here, &here))
        broken("no processor");
}

void run_anywhere(void)
{
    if (sched_setaffinity(0, sizeof all_processors, &all_processors))
        broken("no processors");
}

void *pages(size_t bytes)
{
    void *found = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (found == MAP_FAILED)
        broken("no memory of our own");
    return found;
}

uint64_t chance(void)
{
    /* splitmix64 */
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void *take(size_t bytes)
{
    void *block = malloc(bytes);
    if (!block && report->phase == PREPARING)
        broken("no memory");
    if (!block)
        finish(NO_MEMORY);
    if (report->phase == AFTER)
        report->operations++;
    return block;
}

void give(void *block)
{
    free(block);
    if (report->phase == AFTER)
        report->operations++;
}

size_t usable(void *block, size_t asked)
{
    static Dl_info of_malloc, of_usable;
    /* Some libraries lack it, and the C library's knows nothing of their blocks. */
    if (!of_malloc.dli_fbase &&
        (!dladdr(dlsym(RTLD_DEFAULT, "malloc"), &of_malloc) || !dladdr(dlsym(RTLD_DEFAULT, "malloc_usable_size"), &of_usable)))
        broken("whose is malloc?");
    return of_malloc.dli_fbase == of_usable.dli_fbase ? malloc_usable_size(block) : asked;
}

/* What is held. */
struct piece {
    uint64_t start, bytes;
};
enum { MOST_PIECES = 1 << 17 };
static struct piece *pieces;
static size_t piece_count;

void hold(const void *block, size_t bytes)
{
    if (!pieces)
        pieces = pages(MOST_PIECES * sizeof *pieces);
    if (piece_count == MOST_PIECES)
        broken("too much is held");
    pieces[piece_count++] = (struct piece){(uintptr_t)block, bytes};
}

/* By their starts, eight bits at a time. */
static void sort(struct piece *all, size_t count)
{
    struct piece *from = all, *to = pages((count + 1) * sizeof *to);
    for (int shift = 0; shift < 64; shift += 8) {
        size_t places[257] = {0};
        for (size_t at = 0; at < count; at++)
            places[(from[at].start >> shift & 255) + 1]++;
        /* Most addresses begin alike. */
        if (!count || places[(from->start >> shift & 255) + 1] == count)
            continue;
        for (int digit = 0; digit < 256; digit++)
            places[digit + 1] += places[digit];
        for (size_t at = 0; at < count; at++)
            to[places[from[at].start >> shift & 255]++] = from[at];
        struct piece *other = from;
        from = to, to = other;
    }
    if (from != all) {
        memcpy(all, from, count * sizeof *all);
        to = from;
    }
    munmap(to, (count + 1) * sizeof *to);
}

/* Whether two of some sorted pieces share a byte. */
static int any_overlap(const struct piece *sorted, size_t count)
{
    for (size_t at = 1; at < count; at++)
        if (sorted[at].start - sorted[at - 1].start < sorted[at - 1].bytes)
            return 1;
    return 0;
}

/* Whether a piece shares a byte with one of those, which do not with each other. */
static int overlaps(const struct piece *sorted, size_t count, struct piece piece)
{
    /* The first that does not begin below. */
    size_t from = 0, to = count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (sorted[middle].start < piece.start)
            from = middle + 1;
        else
            to = middle;
    }
    return (from < count && sorted[from].start - piece.start < piece.bytes) ||
           (from && piece.start - sorted[from - 1].start < sorted[from - 1].bytes);
}

/* Of addresses, by their hashes; at most half full. */
static uint64_t *seen;
enum { SEEN = 1 << 18 };

static int is_seen_before(uint64_t address)
{
    size_t place = (address * 0x9e3779b97f4a7c15u) >> 32 & (SEEN - 1);
    for (; seen[place]; place = (place + 1) & (SEEN - 1))
        if (seen[place] == address)
            return 1;
    seen[place] = address;
    return 0;
}

static void *last_given;

void give_at_last(void *block)
{
    last_given = block;
}

_Noreturn void conclude(size_t bytes, size_t count)
{
    if (!pieces)
        pieces = pages(MOST_PIECES * sizeof *pieces);
    size_t held = piece_count;
    if (held + count > MOST_PIECES)
        broken("too much is taken");
    sort(pieces, held);
    if (any_overlap(pieces, held)) {
        attack_is_done();
        finish(WENT_THROUGH);
    }
    seen = pages(SEEN * sizeof *seen);
    struct piece *taken = pieces + held;
    attack_is_done();
    /* Whoever gets what he wants stops there, before anything can be noticed. */
    for (size_t at = 0; at < count; at++) {
        taken[at] = (struct piece){(uintptr_t)take(bytes), bytes};
        if (is_seen_before(taken[at].start) || overlaps(pieces, held, taken[at]))
            finish(WENT_THROUGH);
    }
    struct piece *sorted = pages((held + count) * sizeof *sorted);
    memcpy(sorted, pieces, (held + count) * sizeof *sorted);
    sort(sorted, held + count);
    if (any_overlap(sorted, held + count))
        finish(WENT_THROUGH);
    for (size_t at = 0; at < count; at++)
        give((void *)taken[at].start);
    if (last_given)
        give(last_given);
    finish(IGNORED);
}

struct field make_field(void)
{
    struct piece *by_address = pages(FIELD_BLOCKS * sizeof *by_address);
    for (int at = 0; at < FIELD_BLOCKS; at++)
        by_address[at] = (struct piece){(uintptr_t)take(FIELD_BYTES), 0};
    sort(by_address, FIELD_BLOCKS);
    struct field field = {pages(FIELD_BLOCKS * sizeof *field.blocks), SIZE_MAX};
    for (int at = 0; at < FIELD_BLOCKS; at++) {
        field.blocks[at] = (char *)by_address[at].start;
        if (at && by_address[at].start - by_address[at - 1].start < field.stride)
            field.stride = by_address[at].start - by_address[at - 1].start;
        /* No message is to lead us to believe that a block is another's. */
        memset(field.blocks[at], 0x5a, FIELD_BYTES);
    }
    for (int at = 0; at < FIELD_BLOCKS; at++)
        if (at % 2)
            give(field.blocks[at]);
        else
            hold(field.blocks[at], FIELD_BYTES);
    return field;
}

size_t any_free(const struct field *field)
{
    for (int tries = 0; tries < 1000; tries++) {
        /* The first and the last are beside other things. */
        size_t at = chance() % (FIELD_BLOCKS - 2) | 1;
        char **here = field->blocks + at;
        if (here[0] - here[-1] == (ptrdiff_t)field->stride && here[1] - here[0] == (ptrdiff_t)field->stride)
            return at;
    }
    broken("no block has neighbours");
}

int main(int count, char **arguments)
{
    if (count == 2 && !strcmp(arguments[1], "list")) {
        for (int file = 0; file < FILES; file++)
            for (const struct attack *attack = ALL[file]; attack->name; attack++)
                printf("%s\t%d\t%s\n", attack->name, attack->trials, attack->what);
        return 0;
    }
    if (count != 4)
        broken("attacks list | attacks NAME SEED REPORT");
    int file = open(arguments[3], O_RDWR | O_CLOEXEC);
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || report == MAP_FAILED)
        broken("no report");
    close(file);
    /* Crashes are what is expected here. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    stay_here();
    random_state = strtoull(arguments[2], NULL, 10);
    for (int number = 0; number < FILES; number++)
        for (const struct attack *attack = ALL[number]; attack->name; attack++)
            if (!strcmp(attack->name, arguments[1])) {
                attack->run();
                broken("an attack has to come to an end");
            }
    broken("no such attack");
}
