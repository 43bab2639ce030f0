/* Steps of worker `me` on its descriptor `d`.  Everything here is inlined into worker.pml and uses its registers. */

#if CRASHES > 0
#define CRASH_POINT  if :: crashes_left > 0 -> crashes_left--; goto dead :: true fi
#else
#define CRASH_POINT  skip
#endif

inline watch(word) { watched[me] = word; fresh_view[me] = 1 }
inline unwatch() {
    watched[me] = NOTHING; fresh_view[me] = 0;
    seen_avail = 0; seen_count = 0; seen_state = 0; seen_link = 0; seen_head = 0; seen_next = 0
}
/* A tag-changing write: every other view of the word is out of date. */
inline retag(word) {
    fresh_view[0] = fresh_view[0] && watched[0] != word;
    fresh_view[1] = fresh_view[1] && watched[1] != word
#if WORKERS == 3
    ; fresh_view[2] = fresh_view[2] && watched[2] != word
#endif
}
inline tag_anchor() { retag(ANCHOR(d)) }

#ifdef M_ANCHOR_NO_TAG
#define SAME_ANCHOR  (avail[d] == seen_avail && count[d] == seen_count && state[d] == seen_state)
#else
#define SAME_ANCHOR  (fresh_view[me] && avail[d] == seen_avail && count[d] == seen_count && state[d] == seen_state)
#endif
#ifdef M_LIST_NO_TAG
#define SAME_HEAD(l) (head[l] == seen_head)
#else
#define SAME_HEAD(l) (fresh_view[me] && head[l] == seen_head)
#endif

inline read_anchor() {
    RULE(RIGHT_TO_TOUCH, RIGHT(d));
    seen_avail = avail[d]; seen_count = count[d]; seen_state = state[d];
    watch(ANCHOR(d))
}
inline read_link() {
    RULE(RIGHT_TO_TOUCH, RIGHT(d) && committed[d]);
    MUST(BOOKS_BALANCE, seen_avail < BLOCKS);
    seen_link = link[BLOCK(d, seen_avail)]
}
/* The effect of a successful pop CAS: the block is the worker's, its link word is the program's to write. */
inline pop_block() {
    MUST(LIVE_KEPT, committed[d]);
    MUST(ONE_OWNER, seen_link != POISON && own[BLOCK(d, seen_avail)] == FREE);
    own[BLOCK(d, seen_avail)] = HELD + me;
    link[BLOCK(d, seen_avail)] = POISON;
    avail[d] = seen_link
}
inline take_in_hand(from_place) {
    RULE(ONE_CONTAINER, where[d] == from_place && HOLDS_NONE);
    where[d] = IN_HAND + me
}
inline put_from_hand(to_place) {
    RULE(ONE_CONTAINER, where[d] == IN_HAND + me);
    where[d] = to_place
}

/* Pops a list: d, or NIL if it was empty.  A failed CAS: another push or pop succeeded. */
inline pop(l) {
    do
    :: atomic {
        CRASH_POINT; seen_head = head[l];
        if
        :: seen_head == NIL -> d = NIL; seen_head = 0; break
        :: else -> watch(HEAD(l))
        fi }
       atomic { CRASH_POINT; seen_next = next[seen_head] }
       atomic {
        CRASH_POINT;
        if
        :: SAME_HEAD(l) ->
            MUST(ONE_CONTAINER, seen_next != POISON);
            d = seen_head; head[l] = seen_next; retag(HEAD(l));
            take_in_hand(IN_LIST + l); unwatch();
#ifndef KEEP_NEXT
            next[d] = POISON;
#endif
            break
        :: else -> unwatch()
        fi }
    od
}
/* Pushes d.  A failed CAS: another push or pop succeeded. */
inline push(l) {
    do
    :: atomic { CRASH_POINT; seen_head = head[l]; watch(HEAD(l)) }
       atomic { CRASH_POINT; RULE(ONE_CONTAINER, where[d] == IN_HAND + me); next[d] = seen_head }
       atomic {
        CRASH_POINT;
        if
        :: SAME_HEAD(l) ->
            head[l] = d; retag(HEAD(l)); put_from_hand(IN_LIST + l); unwatch(); d = NIL; break
        :: else -> unwatch()
        fi }
    od
}
/* On the list that is not being drained. */
inline partial_push() {
    atomic { CRASH_POINT; into = 1 - drained }
    push(into);
    into = 0
}
/* By the holder of an EMPTY superblock only: decommit, which zeroes the links, then the retired list. */
inline retire() {
    atomic {
        CRASH_POINT;
        RULE(ONE_CONTAINER, where[d] == IN_HAND + me);
        RULE(STATE_FITS, state[d] == EMPTY);
        MUST(LIVE_KEPT, committed[d] && NOTHING_LIVE(d));
        decommit()
    }
    push(RETIRED)
}
inline decommit() {
    committed[d] = 0; avail[d] = POISON;
    link[BLOCK(d, 0)] = 1; link[BLOCK(d, 1)] = 2
#if BLOCKS == 3
    ; link[BLOCK(d, 2)] = 3
#endif
}

#ifdef M_EMPTY_COUNT_ZERO
#define EMPTY_COUNT 0
#else
#define EMPTY_COUNT BLOCKS      /* [0046] line 15 stores 0 */
#endif
#ifdef M_PURGE_MISCOUNTS
#define PURGED 2
#else
#define PURGED 1                /* the word says one less than the blocks reserved */
#endif
#define MIN_CREDITS(n)  ((n) < MAXCREDITS -> (n) : MAXCREDITS)

/* Moves this worker's held blocks to a new owner. */
inline pass_blocks(owner) {
    for (i : 0 .. SUPERBLOCKS * BLOCKS - 1) {
        if :: own[i] == HELD + me -> own[i] = owner :: else fi
    }
    i = 0
}

/* Hands the popped block to the program and ends the operation. */
inline finish_malloc() { pass_blocks(LIVE); d = NIL; goto idle }

inline see_active(h) { seen_active = active_desc[h]; seen_credits = active_credits[h] }
