/* ---- every quiescent state to start from, up to renaming descriptors, blocks and the two lists ---- */
/* `d` with its first `listed` blocks in the free list and the others in the program's hands. */
inline lay_out(listed) {
    committed[d] = 1; never_used = d + 1;
    avail[d] = (listed > 0 -> 0 : BLOCKS);
    for (i : 0 .. BLOCKS - 1) {
        if
        :: i < listed -> own[BLOCK(d, i)] = FREE; link[BLOCK(d, i)] = (i + 1 < listed -> i + 1 : BLOCKS)
        :: else -> own[BLOCK(d, i)] = LIVE; link[BLOCK(d, i)] = POISON
        fi
    }
    i = 0
}
inline list(l) { next[d] = head[l]; head[l] = d; where[d] = IN_LIST + l }
inline install(h) {
    select(r : 1 .. MAXCREDITS);
    select(n : 0 .. BLOCKS - r);
    active_desc[h] = d; active_credits[h] = r - 1;
    count[d] = n; state[d] = ACTIVE; where[d] = IN_HEAP;
    lay_out(r + n)
}
inline set_up() {
    for (i : 0 .. HEAPS - 1) { active_desc[i] = NIL }
    for (i : 0 .. LISTS - 1) { head[i] = NIL }
    for (d : 0 .. SUPERBLOCKS - 1) { next[d] = POISON; decommit() }
    place = IN_HEAP; d = 0;
    do
    :: d == SUPERBLOCKS -> break
    :: else ->
        if  /* containers in this order: who is where is a matter of names only */
        :: place == IN_HEAP && d == 0 -> install(0)
#if HEAPS > 1
        :: place == IN_HEAP && d <= 1 -> place = IN_HEAP + 1; install(1)
#endif
        :: place <= 2 -> place = 2; state[d] = FULL; lay_out(0)
        :: place <= 3 -> place = 3; list(0); choose_partial_or_empty()
        :: place <= 4 -> place = 4; list(1); choose_partial_or_empty()
        :: place <= 5 -> place = 5; list(RETIRED); never_used = d + 1; count[d] = EMPTY_COUNT; state[d] = EMPTY
        :: place = 6                    /* never used, and so are all after it */
        fi;
        d++
    od;
    d = 0; place = 0; n = 0; r = 0
}
inline choose_partial_or_empty() {
    select(n : 1 .. BLOCKS);
    count[d] = (n == BLOCKS -> EMPTY_COUNT : n); state[d] = (n == BLOCKS -> EMPTY : PARTIAL);
    lay_out(n)
}

/* ---- the oracle: drains everything that can be found ---- */
/* A worker that stopped may keep one descriptor, its reservation and the blocks of its free; nothing else is missing. */
inline drain() {
    for (n : 0 .. LISTS - 1) {
        d = head[n];
        do
        :: d == NIL -> break
        :: else ->
            MUST(ONE_CONTAINER, d < SUPERBLOCKS && !found[d]);
            RULE(ONE_CONTAINER, where[d] == IN_LIST + n);
            found[d] = 1;
            RULE(STATE_FITS, state[d] == EMPTY || (n != RETIRED && state[d] == PARTIAL && count[d] < BLOCKS));
            MUST(LIVE_KEPT, n != RETIRED || (!committed[d] && NOTHING_LIVE(d)));
            d = next[d]
        od
    }
    for (n : 0 .. HEAPS - 1) {
        d = active_desc[n];
        if
        :: d != NIL ->
            MUST(ONE_CONTAINER, !found[d]);
            RULE(ONE_CONTAINER, where[d] == IN_HEAP);
            RULE(STATE_FITS, state[d] == ACTIVE);
            found[d] = 1; in_heap[d] = active_credits[n] + 1
        :: else
        fi
    }
    for (d : 0 .. SUPERBLOCKS - 1) {
        if
        :: found[d] || d >= never_used -> skip
        :: else ->
            if
            :: where[d] == NOWHERE -> MUST(ALL_FOUND, state[d] == FULL && count[d] == 0 && !NOTHING_LIVE(d))
            :: else -> MUST(ALL_FOUND, where[d] >= IN_HAND && stopped[where[d] - IN_HAND])
            fi
        fi;
        if
        :: !committed[d] -> MUST(LIVE_KEPT, NOTHING_LIVE(d))
        :: else ->
            n = (state[d] == EMPTY -> BLOCKS : count[d]) + in_heap[d];
            for (r : 0 .. WORKERS - 1) { n = n + (RESERVED_BY(r, d) -> reserved[r] : 0) }
            MUST(BOOKS_BALANCE, n == TALLY(d, FREE));
            r = avail[d];
            do
            :: n == 0 -> break
            :: else ->
                MUST(BOOKS_BALANCE, r < BLOCKS && own[BLOCK(d, r)] == FREE);
                own[BLOCK(d, r)] = LIVE; r = link[BLOCK(d, r)]; n--
            od
        fi
    }
}
