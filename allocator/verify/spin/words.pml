/* The shared words, the ghosts and the properties.  The algorithm reads no ghost; `own` also says which blocks the program
 * may free. */

#if HEAPS == 1
#define HEAP_OF_ME 0
#else
#define HEAP_OF_ME (me % HEAPS)
#endif

/* ---- words ---- */
#define NIL     6               /* no descriptor */
#define POISON  7               /* a value nobody may rely on */

#define ACTIVE  0
#define FULL    1
#define PARTIAL 2
#define EMPTY   3

#define RETIRED 2               /* lists 0 and 1 are the class's partial lists, 2 the retired list */
#define LISTS   3

/* heap header [0037]: the Active word, compared by value, it has no tag */
byte active_desc[HEAPS];
byte active_credits[HEAPS];     /* one less than the blocks reserved [0032] */

/* descriptor: the anchor word (its tag is `fresh_view`), and the link used by lists */
byte avail[SUPERBLOCKS];
byte count[SUPERBLOCKS];
byte state[SUPERBLOCKS];
byte next[SUPERBLOCKS];

/* superblock memory: the link word of each block; POISON while a program owns the block */
byte link[SUPERBLOCKS * BLOCKS];
bit  committed[SUPERBLOCKS];

byte head[LISTS];               /* list heads: index and tag in one word */
bit  drained;                   /* the partial list that sweeps pop from; PartialPush uses the other */
byte never_used;                /* descriptors from here on have never been taken */

/* ---- ghosts ---- */
#define NOWHERE   0             /* FULL, or never used: in no container */
#define IN_HEAP   1
#define IN_LIST   2             /* + list */
#define IN_HAND   5             /* + worker */
byte where[SUPERBLOCKS];

#define FREE      0
#define LIVE      1             /* the program's: any worker may free it */
#define HELD      2             /* + worker: inside that worker's malloc or free */
byte own[SUPERBLOCKS * BLOCKS];

byte reserved[WORKERS];         /* blocks reserved by a worker ... */
byte reserved_in[WORKERS];      /* ... in this superblock */

/* A worker watches the word it has read and will CAS.  `fresh_view` falls when another worker writes that word in a way
 * that changes its tag: an unbounded tag, without storing it. */
#define NOTHING       0
#define ANCHOR(d)     (1 + (d))
#define HEAD(l)       (1 + SUPERBLOCKS + (l))
byte watched[WORKERS];
bit  fresh_view[WORKERS];

bit  stopped[WORKERS];
byte crashes_left = CRASHES;
byte finished;

/* ---- vocabulary of the properties ---- */
#define BLOCK(d, b)   ((d) * BLOCKS + (b))
#if BLOCKS == 2
#define ANY_BLOCK(d, owner)  (own[BLOCK(d, 0)] == (owner) || own[BLOCK(d, 1)] == (owner))
#define TALLY(d, owner)      ((own[BLOCK(d, 0)] == (owner)) + (own[BLOCK(d, 1)] == (owner)))
#else
#define ANY_BLOCK(d, owner)  (own[BLOCK(d, 0)] == (owner) || own[BLOCK(d, 1)] == (owner) || own[BLOCK(d, 2)] == (owner))
#define TALLY(d, owner)      ((own[BLOCK(d, 0)] == (owner)) + (own[BLOCK(d, 1)] == (owner)) + (own[BLOCK(d, 2)] == (owner)))
#endif
#define RESERVED_BY(w, d)    (reserved[w] > 0 && reserved_in[w] == (d))
#if WORKERS == 2
#define ANY_RESERVED(d)      (RESERVED_BY(0, d) || RESERVED_BY(1, d))
#else
#define ANY_RESERVED(d)      (RESERVED_BY(0, d) || RESERVED_BY(1, d) || RESERVED_BY(2, d))
#endif
#if SUPERBLOCKS == 2
#define HOLDS_NONE           (where[0] != IN_HAND + me && where[1] != IN_HAND + me)
#define HOLDS_NO_BLOCK       (!ANY_BLOCK(0, HELD + me) && !ANY_BLOCK(1, HELD + me))
#else
#define HOLDS_NONE           (where[0] != IN_HAND + me && where[1] != IN_HAND + me && where[2] != IN_HAND + me)
#define HOLDS_NO_BLOCK       (!ANY_BLOCK(0, HELD + me) && !ANY_BLOCK(1, HELD + me) && !ANY_BLOCK(2, HELD + me))
#endif
/* Rule (b): an anchor or a link may be touched by the holder of the descriptor, of a reservation, or of a block. */
#define RIGHT(d)             (where[d] == IN_HAND + me || RESERVED_BY(me, d) || ANY_BLOCK(d, HELD + me))
#define NOTHING_LIVE(d)      (TALLY(d, FREE) == BLOCKS && !ANY_RESERVED(d))

/* ---- properties: the number is what the run script turns back into the name ---- */
#define ONE_OWNER         1     /* a block is free, or some program's, or inside one operation: never handed out twice */
#define ONE_CONTAINER     2     /* a descriptor is in one heap, one list or one thread's hands, or FULL and in none */
#define LIVE_KEPT         3     /* no block that is allocated or reserved is decommitted or initialised anew */
#define RIGHT_TO_TOUCH    4     /* anchors and links only by those with a right to */
#define BOOKS_BALANCE     5     /* free blocks = count + credits + reservations under way, and all are in the chain */
#define ALL_FOUND         6     /* at the end every superblock is found, but for one per stopped thread */
#define STATE_FITS        7     /* the anchor's state is the one its procedure relies on */
#define HANDS_EMPTY       8     /* an operation ends without holding a descriptor, a reservation or a block */

/* MUST: what a program would suffer from.  RULE: what the design demands so that it does not; CONSEQUENCES_ONLY drops the
 * rules, so that mutants also show that breaking one does harm. */
#define MUST(property, condition) assert((condition) || !(property))
#ifdef CONSEQUENCES_ONLY
#define RULE(property, condition) skip
#else
#define RULE(property, condition) MUST(property, condition)
#endif
