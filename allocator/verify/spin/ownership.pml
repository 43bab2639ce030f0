/*
 * Superblock ownership and retirement in lfalloc, for SPIN.
 *
 * Who may write an anchor, who may retire a superblock, which container a descriptor is in, and whether the other
 * threads still finish when one stops for ever.  README.md says what is abstracted and why that is sound; the names are
 * the patent's, [00NN] its paragraphs.
 *
 * One `atomic` block is one access to shared memory (a read, a write or a compare-and-swap) with the local computation
 * that follows it.
 *
 *   words.pml      the shared words, the ghost variables, the properties
 *   steps.pml      one access each, and the list, retirement and crash steps built from them
 *   worker.pml     free, sweep, malloc and purge, with the mutants (M_...)
 *   quiescent.pml  the states a run starts from, and the oracle it ends with
 */

/* ---- sizes: overridden by -D from `run` ---- */
#ifndef WORKERS
#define WORKERS 2               /* threads, 2 or 3 */
#endif
#ifndef OPS_FIRST
#define OPS_FIRST 1             /* operations of worker 0 */
#endif
#ifndef OPS_OTHERS
#define OPS_OTHERS 1            /* operations of every other worker */
#endif
#ifndef SUPERBLOCKS
#define SUPERBLOCKS 2
#endif
#ifndef BLOCKS
#define BLOCKS 2                /* blocks of a superblock, 2 or 3: the patent's maxcount */
#endif
#ifndef MAXCREDITS
#define MAXCREDITS 1            /* blocks a heap reserves at most */
#endif
#ifndef HEAPS
#define HEAPS 1                 /* worker w uses heap w modulo HEAPS */
#endif
#ifndef CRASHES
#define CRASHES 0               /* how many workers may stop for ever, each before any of its steps */
#endif

#include "words.pml"
#include "steps.pml"
#include "worker.pml"
#include "quiescent.pml"

init {
    byte d, i, n, r, place;
    bit found[SUPERBLOCKS];
    byte in_heap[SUPERBLOCKS];
    atomic {
        set_up();
        for (n : 0 .. WORKERS - 1) { run worker(n) }
        n = 0; i = 0
    }
    finished == WORKERS;
    d_step { drain(); d = 0; n = 0; r = 0 }
}
