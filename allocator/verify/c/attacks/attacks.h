/* What the attacks share: how they tell what came of them, and blocks to try them on.
 *
 * An attack is a process of its own. It prepares, does what no right program does, and then goes on as an attacker would:
 * it allocates until it has seen all that may be free, and looks whether any of it is a block that somebody holds. How the
 * process ends says what became of it; a signal is told by whoever started it. The allocator under attack is never used for
 * anything else here: what is remembered lies in mappings.
 */
#ifndef ATTACKS_H
#define ATTACKS_H

#include <stddef.h>
#include <stdint.h>

/* How a process ends that was not stopped. */
enum outcome {
    /* It was seen that no block was handed out twice, and nothing else came of it. */
    IGNORED = 0,
    /* What the attacker wants happened. */
    WENT_THROUGH = 20,
    /* From then on the allocator says that there is no memory. */
    NO_MEMORY = 10,
    /* The allocator has nothing that this could be tried on. */
    NOT_HERE = 30,
    /* The attack could not be tried: the program is wrong. */
    BROKEN = 40,
};

enum phase { PREPARING, ATTACKING, AFTER };

/* In a file that outlives the process. */
struct report {
    /* One of enum phase. */
    volatile uint64_t phase;
    /* Calls of the allocator that returned since the wrong thing was done. */
    volatile uint64_t operations;
    /* What a message should name: from the first to below the second address. */
    volatile uint64_t from, to;
};
extern struct report *report;

struct attack {
    const char *name;
    void (*run)(void);
    /* More than one where chance decides. */
    int trials;
    const char *what;
};

/* Each file's, ended by one without a name. */
extern const struct attack double_attacks[], invalid_attacks[], written_attacks[], overflow_attacks[], other_attacks[];

_Noreturn void finish(enum outcome outcome);
/* Ends the program with a message: nothing is shown. */
_Noreturn void broken(const char *what);
/* One or two words for the table, beside what became of it. */
void remark(const char *what);

/* What comes next is wrong; a message about it should name one of the bytes at `block`. */
void attack_begins(const void *block, size_t bytes);
/* It was done, and the process is still there. */
void attack_is_done(void);

/* An attack runs on one processor, so that allocators with caches for each do the same in every trial; but for this. */
void run_anywhere(void);

/* malloc and free, counted. The compiler knows nothing of them here, and leaves none out. */
void *take(size_t bytes);
void give(void *block);

/* Somebody holds these bytes: nobody else may get them. */
void hold(const void *block, size_t bytes);
/* Takes `count` blocks of so many bytes. It went through if one of them shares a byte with another, or with what is held; if not,
 * it frees those blocks, and was ignored. */
_Noreturn void conclude(size_t bytes, size_t count);
/* `conclude` frees this one, too. */
void give_at_last(void *block);

/* Blocks side by side, of which every second one is free: more than any cache keeps, so that most of them are where the
 * allocator puts what it does not expect to need soon. The others are held. */
enum { FIELD_BLOCKS = 24000, FIELD_BYTES = 64 };
struct field {
    /* By address. Those at odd places are free. */
    char **blocks;
    /* From one block to the next, for most. */
    size_t stride;
};
struct field make_field(void);
/* A place of the field with a free block that has a held one below and another above it, right beside it; another one for each
 * seed. */
size_t any_free(const struct field *field);
/* As many as there are in a field, and then some. */
enum { ALL_BLOCKS = FIELD_BLOCKS / 2 + 2000 };

/* What a block can hold: at least what was asked for. */
size_t usable(void *block, size_t asked);

/* Zeroed pages of our own. */
void *pages(size_t bytes);
/* Another for each trial, and then for each call. */
uint64_t chance(void);

/* As uint64_t at `address`; compilers may not think about it. */
static inline uint64_t word_at(const void *address)
{
    return *(const volatile uint64_t *)address;
}

static inline void write_word(void *address, uint64_t word)
{
    *(volatile uint64_t *)address = word;
}

#endif
