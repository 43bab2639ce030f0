/* What can be read, and what can be foreseen. */
#define _GNU_SOURCE
#include "attacks.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Mappings of this process. */
static struct range {
    uint64_t start, end;
} *ranges;
static size_t range_count;

static void read_ranges(void)
{
    enum { TEXT = 1 << 20, MOST = 10000 };
    char *text = pages(TEXT);
    ranges = pages(MOST * sizeof *ranges);
    int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    ssize_t bytes;
    for (size_t length = 0; file >= 0 && (bytes = read(file, text + length, TEXT - 1 - length)) > 0;)
        length += bytes;
    for (char *line = text; *line && range_count < MOST; line = strchrnul(line, '\n'), line += *line == '\n') {
        char *next;
        ranges[range_count].start = strtoull(line, &next, 16);
        ranges[range_count++].end = strtoull(next + 1, NULL, 16);
    }
    if (!range_count)
        broken("no mappings");
}

static int is_address(uint64_t word)
{
    for (size_t at = 0; at < range_count; at++)
        if (word >= ranges[at].start && word < ranges[at].end)
            return 1;
    return 0;
}

/* What stands in free blocks that was not written by who had them. */
static void read_free(void)
{
    enum { LARGER = 200, LARGER_BYTES = 2000 };
    struct field field = make_field();
    char *larger[LARGER];
    for (int at = 0; at < LARGER; at++)
        memset(larger[at] = take(LARGER_BYTES), 0x5a, LARGER_BYTES);
    for (int at = 1; at < LARGER; at += 2)
        give(larger[at]);
    attack_begins(field.blocks[0], FIELD_BYTES);
    read_ranges();
    size_t addresses = 0, masked = 0, numbers = 0;
    for (size_t at = 1; at < FIELD_BLOCKS + LARGER; at += 2) {
        const char *block = at < FIELD_BLOCKS ? field.blocks[at] : larger[at - FIELD_BLOCKS];
        for (int word = 0; word < 4; word++) {
            uint64_t value = word_at(block + 8 * word);
            if (value == 0x5a5a5a5a5a5a5a5a)
                continue;
            addresses += is_address(value);
            masked += is_address(value ^ (uintptr_t)block >> 12);
            numbers += value && value < 1 << 16;
            /* Where 32 bits were written over what the program left. */
            numbers += value >> 32 == 0x5a5a5a5a && (uint32_t)value < 1 << 16;
        }
    }
    attack_is_done();
    remark(addresses > 10 ? "addresses" : masked > 10 ? "masked addresses" : numbers > 10 ? "numbers" : "nothing");
    finish(addresses > 10 || masked > 10 ? WENT_THROUGH : IGNORED);
}

/* The next owner reads what the last one wrote. */
static void read_reused(void)
{
    char *block = take(64);
    memset(block, 0x5e, 64);
    attack_begins(block, 64);
    give(block);
    attack_is_done();
    for (int tries = 0; tries < 10000; tries++) {
        char *next = take(64);
        for (int byte = 0; byte < 64; byte++)
            if (((volatile char *)next)[byte] == 0x5e)
                finish(WENT_THROUGH);
    }
    finish(IGNORED);
}

/* Where the next block lies, seen from the last one. */
static void foreseen(void)
{
    enum { BLOCKS = 1000 };
    static int64_t steps[BLOCKS];
    char *last = take(64);
    attack_begins(last, 64);
    attack_is_done();
    for (int at = 0; at < BLOCKS; at++) {
        char *next = take(64);
        steps[at] = next - last;
        last = next;
    }
    int most = 0;
    for (int at = 0; at < BLOCKS; at++) {
        int same = 0;
        for (int other = 0; other < BLOCKS; other++)
            same += steps[other] == steps[at];
        most = same > most ? same : most;
    }
    remark(most >= BLOCKS / 2 ? "a fixed step" : most >= BLOCKS / 10 ? "one of few steps" : "any step");
    finish(most >= BLOCKS / 2 ? WENT_THROUGH : IGNORED);
}

/* A free block's size is asked for. */
static void usable_size(void)
{
    void *block = take(64);
    if (!usable(block, 0))
        finish(NOT_HERE);
    give(take(64));
    give(block);
    attack_begins(block, 64);
    size_t bytes = usable(block, 0);
    attack_is_done();
    remark(bytes ? "its size" : "0");
    finish(IGNORED);
}

const struct attack other_attacks[] = {
    {"read-free", read_free, 1, "what freed blocks tell of where things are"},
    {"read-reused", read_reused, 1, "what the last owner wrote is read by the next"},
    {"foreseen", foreseen, 1, "1,000 new blocks: where the next one lies"},
    {"usable-size-freed", usable_size, 1, "malloc_usable_size of a freed block"},
    {0},
};
