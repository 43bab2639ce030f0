/* A free block is written to: at random, by a program that does not know that it freed it, or by somebody who forges what the
 * allocator keeps there. */
#include "attacks.h"

/* A word at the beginning of a freed block, changed; then everything is taken that is free. */
static _Noreturn void written(const struct field *field, size_t at, uint64_t word)
{
    attack_begins(field->blocks[at], FIELD_BYTES);
    write_word(field->blocks[at], word);
    conclude(FIELD_BYTES, ALL_BLOCKS);
}

static void random_word(void)
{
    struct field field = make_field();
    size_t at = any_free(&field);
    written(&field, at, chance());
}

static void zero(void)
{
    struct field field = make_field();
    written(&field, any_free(&field), 0);
}

/* A small number, as flags and lengths are. */
static void small_number(void)
{
    struct field field = make_field();
    size_t at = any_free(&field);
    written(&field, at, chance() % 100);
}

/* A count of references, at whose end the program believes to be. */
static void count(void)
{
    struct field field = make_field();
    size_t at = any_free(&field);
    uint64_t word = word_at(field.blocks[at]);
    uint32_t low = (uint32_t)word + (chance() % 2 ? 1 : UINT32_MAX);
    written(&field, at, (word & ~(uint64_t)UINT32_MAX) | low);
}

static void bit(void)
{
    struct field field = make_field();
    size_t at = any_free(&field);
    written(&field, at, word_at(field.blocks[at]) ^ (uint64_t)1 << chance() % 64);
}

static void byte(void)
{
    struct field field = make_field();
    size_t at = any_free(&field);
    int shift = 8 * (chance() % 8);
    uint64_t word = word_at(field.blocks[at]) & ~((uint64_t)255 << shift);
    written(&field, at, word | (chance() & 255) << shift);
}

/* All of them, as by a loop over an array that was freed. */
static void everywhere(void)
{
    struct field field = make_field();
    attack_begins(field.blocks[0], field.blocks[FIELD_BLOCKS - 1] - field.blocks[0]);
    for (size_t at = 1; at < FIELD_BLOCKS; at += 2)
        write_word(field.blocks[at], chance());
    conclude(FIELD_BYTES, ALL_BLOCKS);
}

/* A block that is held, somewhere. */
static char *victim_of(const struct field *field, size_t at)
{
    /* The one just above, half of the time: the smaller the page or the superblock, the less is in it. */
    return field->blocks[chance() % 2 ? at + 1 : chance() % (FIELD_BLOCKS / 2) * 2];
}

static char target[256] __attribute__((aligned(64)));

/* Addresses as they are. */
static void forged_address(void)
{
    struct field field = make_field();
    size_t at = any_free(&field);
    written(&field, at, (uintptr_t)victim_of(&field, at));
}

static void forged_static(void)
{
    struct field field = make_field();
    hold(target, sizeof target);
    written(&field, any_free(&field), (uintptr_t)(target + 64));
}

/* As glibc masks them, which takes no secret but where the block lies. */
static uint64_t masked(const void *place, const void *leads_to)
{
    return (uintptr_t)place >> 12 ^ (uintptr_t)leads_to;
}

/* In some of glibc's lists links lead to a block, in others 16 bytes before it, where its size stands. */
static char *either(char *block)
{
    return block - chance() % 2 * 16;
}

static void forged_masked(void)
{
    struct field field = make_field();
    size_t at = any_free(&field);
    written(&field, at, masked(field.blocks[at], either(victim_of(&field, at))));
}

static void forged_masked_static(void)
{
    struct field field = make_field();
    hold(target, sizeof target);
    size_t at = any_free(&field);
    write_word(target + 56, FIELD_BYTES + 16);
    written(&field, at, masked(field.blocks[at], either(target + 64)));
}

/* What lists of glibc's that are not its fastest have: the block before the one that is meant. */
static void forged_both_ways(void)
{
    struct field field = make_field();
    hold(target, sizeof target);
    size_t at = any_free(&field);
    write_word(field.blocks[at] + 8, (uintptr_t)(target + 48));
    written(&field, at, (uintptr_t)(target + 48));
}

/* lfalloc's superblocks begin at multiples of this, their blocks at its beginning. */
enum { SUPERBLOCK = 1 << 16 };

/* Number of a block in its superblock. */
static uint64_t index_of(const void *block)
{
    return (uintptr_t)block % SUPERBLOCK / FIELD_BYTES;
}

/* As lfalloc numbered them without encoding: the number of one that is held, in 32 bits and in 64. */
static void forged_index(void)
{
    struct field field = make_field();
    size_t at = any_free(&field);
    uint64_t word = word_at(field.blocks[at]), index = index_of(field.blocks[at + 1]);
    written(&field, at, chance() % 2 ? index : (word & ~(uint64_t)UINT32_MAX) | index);
}

/* A link that leads to itself. */
static void forged_self(void)
{
    struct field field = make_field();
    size_t at = any_free(&field);
    uint64_t forms[] = {(uintptr_t)field.blocks[at], masked(field.blocks[at], field.blocks[at]), index_of(field.blocks[at])};
    written(&field, at, forms[chance() % 3]);
}

/* The link of another free block. */
static void forged_copy(void)
{
    struct field field = make_field();
    size_t from = any_free(&field), at;
    do
        at = any_free(&field);
    while (at == from);
    written(&field, at, word_at(field.blocks[from]));
}

/* Of a neighbour, which is likely to be in the same list. */
static void forged_copy_near(void)
{
    struct field field = make_field();
    size_t at = any_free(&field);
    written(&field, at, word_at(field.blocks[at > 2 ? at - 2 : at + 2]));
}

/* The attacker has read the link, guesses where it leads, and changes it by the difference to where it should lead: whatever a
 * secret is combined with by "exclusive or" or addition alone is forged so. Several guesses and several ways, one a trial. */
static void forged_difference(void)
{
    struct field field = make_field();
    size_t at = any_free(&field);
    char *block = field.blocks[at], *victim = field.blocks[at + 1];
    /* Blocks were freed upwards, so that the next one is two places below or above. */
    char *leads_to = field.blocks[chance() % 2 ? at - 2 : at + 2];
    uint64_t word = word_at(block), by = index_of(leads_to) ^ index_of(victim), plus = index_of(victim) - index_of(leads_to);
    switch (chance() % 8) {
    case 0: word ^= by; break;
    case 1: word ^= by | by << 32; break;
    case 2: word ^= by * 0x0001000100010001u; break;
    case 3: word ^= by << 32; break;
    case 4: word += plus; break;
    case 5: word += plus + (plus << 32); break;
    case 6: word ^= (uintptr_t)leads_to ^ (uintptr_t)victim; break;
    default: word += (uintptr_t)victim - (uintptr_t)leads_to; break;
    }
    written(&field, at, word);
}

/* A link that was right once: all are read, everything is taken, some of it freed in another order, and old links are written
 * back, which lead to what is held by now. */
static void forged_replayed(void)
{
    struct field field = make_field();
    uint64_t *links = pages(FIELD_BLOCKS * sizeof *links);
    for (size_t at = 1; at < FIELD_BLOCKS; at += 2)
        links[at] = word_at(field.blocks[at]);
    void **taken = pages(ALL_BLOCKS * sizeof *taken);
    for (size_t at = 0; at < ALL_BLOCKS; at++)
        taken[at] = take(FIELD_BYTES);
    /* Every second one of those that were free, so that the next one in most links stays held. */
    for (size_t at = 1; at < FIELD_BLOCKS; at += 2)
        if (at % 4 == 1)
            give(field.blocks[at]);
        else
            hold(field.blocks[at], FIELD_BYTES);
    attack_begins(field.blocks[0], field.blocks[FIELD_BLOCKS - 1] - field.blocks[0]);
    for (size_t at = 1; at < FIELD_BLOCKS; at += 4)
        write_word(field.blocks[at], links[at]);
    conclude(FIELD_BYTES, FIELD_BLOCKS / 4 + 100);
}

/* Of a few blocks that were freed just now, the last. */
enum { FEW = 12, TAKEN_OF_FEW = 30000 };
struct few {
    char *last, *victim;
};

static struct few free_a_few(void)
{
    char *blocks[FEW];
    for (int at = 0; at < FEW; at++)
        blocks[at] = take(FIELD_BYTES);
    hold(target, sizeof target);
    for (int at = 0; at < FEW; at++)
        if (at % 2)
            give(blocks[at]);
        else
            hold(blocks[at], FIELD_BYTES);
    return (struct few){blocks[FEW - 1], blocks[FEW - 2]};
}

static _Noreturn void written_recently(struct few few, uint64_t word)
{
    attack_begins(few.last, FIELD_BYTES);
    write_word(few.last, word);
    conclude(FIELD_BYTES, TAKEN_OF_FEW);
}

static void recent_random(void)
{
    written_recently(free_a_few(), chance());
}

static void recent_zero(void)
{
    written_recently(free_a_few(), 0);
}

static void recent_address(void)
{
    struct few few = free_a_few();
    written_recently(few, (uintptr_t)few.victim);
}

static void recent_masked(void)
{
    struct few few = free_a_few();
    written_recently(few, masked(few.last, few.victim));
}

static void recent_static(void)
{
    written_recently(free_a_few(), (uintptr_t)(target + 64));
}

static void recent_masked_static(void)
{
    struct few few = free_a_few();
    written_recently(few, masked(few.last, target + 64));
}

static void recent_index(void)
{
    struct few few = free_a_few();
    written_recently(few, index_of(few.victim));
}

/* Somebody else holds it by now: no allocator can tell. */
static void reused(void)
{
    char *block = take(FIELD_BYTES);
    give(block);
    attack_begins(block, FIELD_BYTES);
    for (int tries = 0; tries < 100000; tries++) {
        char *victim = take(FIELD_BYTES);
        write_word(victim, 0x5ec2e7);
        if (victim == block) {
            write_word(block, 0);
            finish(word_at(victim) == 0x5ec2e7 ? IGNORED : WENT_THROUGH);
        }
    }
    remark("not reused");
    finish(IGNORED);
}

const struct attack written_attacks[] = {
    {"written-random", random_word, 20, "a random word"},
    {"written-zero", zero, 20, "zeros"},
    {"written-small", small_number, 20, "a number below 100"},
    {"written-count", count, 20, "its 32-bit word one more or less"},
    {"written-bit", bit, 20, "one bit of the first 64"},
    {"written-byte", byte, 20, "one byte of the first 8"},
    {"written-all", everywhere, 5, "random words in all 12,000"},
    {"forged-address", forged_address, 20, "the address of a block in use"},
    {"forged-static", forged_static, 20, "the address of a static"},
    {"forged-masked", forged_masked, 20, "the address of a block in use, masked as glibc does"},
    {"forged-masked-static", forged_masked_static, 20, "the address of a static, masked as glibc does"},
    {"forged-both-ways", forged_both_ways, 10, "two addresses, as in lists that lead both ways"},
    {"forged-index", forged_index, 20, "the number of a block in use"},
    {"forged-self", forged_self, 20, "a link to itself"},
    {"forged-copy", forged_copy, 20, "the link of any other free block"},
    {"forged-copy-near", forged_copy_near, 20, "the link of its free neighbour"},
    {"forged-difference", forged_difference, 40, "its own link, read, changed by a difference"},
    {"forged-replayed", forged_replayed, 5, "links of an earlier life, read and written back"},
    {"recent-random", recent_random, 20, "freed last: a random word"},
    {"recent-zero", recent_zero, 1, "freed last: zeros"},
    {"recent-address", recent_address, 1, "freed last: the address of a block in use"},
    {"recent-static", recent_static, 1, "freed last: the address of a static"},
    {"recent-masked", recent_masked, 1, "freed last: the address of a block in use, masked as glibc does"},
    {"recent-masked-static", recent_masked_static, 1, "freed last: the address of a static, masked as glibc does"},
    {"recent-index", recent_index, 1, "freed last: the number of a block in use"},
    {"stale-write", reused, 1, "handed out to another meanwhile (*)"},
    {0},
};
