/* The calls of liblfalloc.so beside the allocation functions of the C library.
 *
 * A program that is to run without the library, too, looks them up: dlsym(RTLD_DEFAULT, "lfalloc_purge").
 * From a debugger:  call (int)lfalloc_agent_start()  and then  lfinspect PID. */
#ifndef LFALLOC_H
#define LFALLOC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Starts the agent, which shows this process to lfinspect. 0 when it runs, also if it did before; else an errno, and why
 * is said on standard error. A forked child has none of its own until it calls this. Not from a signal's handler. */
int lfalloc_agent_start(void);

/* Ends the agent and removes its socket; does nothing without one. Not from a signal's handler. */
void lfalloc_agent_stop(void);

/* Gives memory that is kept for later back to the system; returns how many bytes fewer are mapped. Lock-free. */
long long lfalloc_purge(void);

struct lfalloc_totals {
    uint64_t mapped_bytes;     /* mapped from the system and not given back */
    uint64_t live_bytes;       /* in blocks that the program holds, rounding included */
    uint64_t superblock_bytes; /* of superblocks that are ACTIVE, FULL or PARTIAL */
    uint64_t allocations;      /* blocks handed out ever */
    uint64_t frees;            /* blocks given back ever */
    uint64_t in_hand;          /* superblocks, large blocks and batches that threads hold or died with */
    uint64_t foreign_frees;    /* pointers given to free or realloc that are not lfalloc's */
    uint64_t metadata_bytes;   /* of mapped_bytes, lfalloc's own tables: they only grow */
};

/* Fills in the first size bytes of the totals: lfalloc_totals(&totals, sizeof totals). Lock-free; allocates nothing. */
void lfalloc_totals(struct lfalloc_totals *totals, size_t size);

#ifdef __cplusplus
}
#endif

#endif
