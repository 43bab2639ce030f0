/* A thread of the program: operations chosen freely, one after another.  Each retry loop names whose progress makes its
 * CAS fail; `configurations.txt` checks that none can go round for ever. */

proctype worker(byte me) {
    byte operations, d = NIL, i;
    byte seen_avail, seen_count, seen_state, seen_link, seen_head, seen_next;
    byte seen_active, seen_credits;
    byte more;                  /* credits taken for the heap */
    byte batch, first, last;    /* blocks being freed: how many, ends of their chain */
    byte into, tries;           /* lists */
    bit  last_credit;

    operations = (me == 0 -> OPS_FIRST : OPS_OTHERS);

idle:
    /* An operation begins with its first shared access, so that choosing one costs no state of its own. */
    atomic {
        RULE(HANDS_EMPTY, HOLDS_NONE && HOLDS_NO_BLOCK && reserved[me] == 0);
        assert(watched[me] == NOTHING && d == NIL);
        if
        :: operations == 0 -> goto done
        :: else
        fi;
        CRASH_POINT;
        operations--;
        if
#ifndef NO_MALLOC
        :: active_desc[HEAP_OF_ME] == NIL -> goto malloc_from_partial
        :: active_desc[HEAP_OF_ME] != NIL -> see_active(HEAP_OF_ME); goto active_reserve
#endif
#ifndef NO_PURGE
        :: active_desc[0] != NIL -> i = 0; see_active(0); goto purge_take
#if HEAPS > 1
        :: active_desc[1] != NIL -> i = 1; see_active(1); goto purge_take
#endif
#endif
#ifndef NO_FREE
        :: ANY_BLOCK(0, LIVE) -> d = 0
        :: ANY_BLOCK(1, LIVE) -> d = 1
#if SUPERBLOCKS > 2
        :: ANY_BLOCK(2, LIVE) -> d = 2
#endif
#endif
        :: else -> goto done
        fi;
        /* free: the lowest live blocks of d, which are alike; a batch is a chain of them, ready linked */
        if
        :: batch = 1
        :: TALLY(d, LIVE) >= 2 -> batch = 2
#if BLOCKS == 3
        :: TALLY(d, LIVE) >= 3 -> batch = 3
#endif
        fi;
        first = POISON;
        tries = batch;
        for (i : 0 .. BLOCKS - 1) {
            if
            :: tries > 0 && own[BLOCK(d, i)] == LIVE ->
                own[BLOCK(d, i)] = HELD + me; tries--;
                if :: first == POISON -> first = i :: else -> link[BLOCK(d, last)] = i fi;
                last = i
            :: else
            fi
        }
        i = 0;
        read_anchor(); goto free_link
    }

    /* ---- free, free_batch [0046] ---- */
free:
    atomic { CRASH_POINT; read_anchor() }
free_link:
    atomic { CRASH_POINT; MUST(LIVE_KEPT, committed[d]); link[BLOCK(d, last)] = seen_avail }
    atomic {
        CRASH_POINT;
        /* A failed CAS: another malloc, free or purge succeeded on this superblock. */
        if
        :: !SAME_ANCHOR -> unwatch(); goto free
        :: else
        fi;
        MUST(LIVE_KEPT, committed[d]);
        avail[d] = first; first = 0; last = 0;
        pass_blocks(FREE);
        if
        :: seen_state == FULL && batch < BLOCKS ->
            count[d] = batch; state[d] = PARTIAL; tag_anchor();
            batch = 0; unwatch(); take_in_hand(NOWHERE); goto free_push
        :: seen_state == FULL && batch == BLOCKS ->
            /* The only holder: nobody else can find a FULL superblock without one of its blocks. */
#ifdef M_BATCH_STAYS_PARTIAL
            count[d] = BLOCKS; state[d] = PARTIAL; tag_anchor();
            batch = 0; unwatch(); take_in_hand(NOWHERE); goto free_push
#else
            count[d] = EMPTY_COUNT; state[d] = EMPTY; tag_anchor();
#ifdef M_BATCH_STRANDS
            batch = 0; unwatch(); d = NIL; goto idle
#else
            batch = 0; unwatch(); take_in_hand(NOWHERE); goto free_retire
#endif
#endif
        :: seen_state != FULL && seen_count + batch == BLOCKS ->
            RULE(STATE_FITS, seen_state == PARTIAL);
            count[d] = EMPTY_COUNT; state[d] = EMPTY; tag_anchor();
#if defined(M_FREE_RETIRES)
            batch = 0; unwatch(); goto free_retire
#elif defined(M_READ_AFTER_EMPTY)
            batch = 0; unwatch(); goto free_look_again
#else
            batch = 0; unwatch();
#ifndef M_WAIT_FOR_HOLDER
            d = NIL;
#endif
            tries = 2; goto sweep
#endif
        :: else ->
            count[d] = seen_count + batch;
            batch = 0; unwatch(); d = NIL; goto idle
        fi
    }
#ifdef M_READ_AFTER_EMPTY
free_look_again:
    atomic {
        read_anchor(); i = seen_state; unwatch();
        if :: i != EMPTY -> i = 0; d = NIL; goto idle :: else -> i = 0; goto free_retire fi
    }
#endif
free_push:
#ifdef M_PUSHER_RETIRES
    more = d;
#endif
    partial_push();
#ifdef M_PUSHER_RETIRES
    atomic {
        d = more; more = 0; read_anchor(); i = seen_state; unwatch();
        if :: i != EMPTY -> i = 0; d = NIL; goto idle :: else -> i = 0; goto free_retire fi
    }
#endif
    goto idle;
free_retire:
    retire();
    goto idle;

    /* ---- sweep: at most two from the drained list; the EMPTY are retired, the others change lists ---- */
sweep:
#ifdef M_WAIT_FOR_HOLDER
    atomic { where[d] < IN_HAND; d = NIL }
#endif
    do
    :: atomic {
        if :: tries == 0 -> break :: else -> tries-- fi;
        CRASH_POINT; into = 1 - drained }
       pop(1 - into);
       if
       :: d == NIL -> atomic { CRASH_POINT; if :: drained != into -> drained = into :: else fi; into = 0 }
       :: else ->
          atomic { CRASH_POINT; read_anchor(); i = seen_state; unwatch() }
          if
#ifdef M_SWEEP_RETIRES_ANY
          :: true -> i = 0; retire()
#else
          :: i == EMPTY -> i = 0; retire()
#endif
#if defined(M_SWEEP_DROPS)
          :: i != EMPTY -> i = 0; d = NIL
#elif defined(M_SWEEP_UNBOUNDED)
          :: i != EMPTY -> i = 0; tries = 2; push(1 - into)
#endif
          :: else -> i = 0; push(into)
          fi;
          into = 0
       fi
    od;
    goto idle;

    /* ---- MallocFromActive [0059] ---- */
malloc_from_active:
    atomic {
        CRASH_POINT;
        if
        :: active_desc[HEAP_OF_ME] == NIL -> goto malloc_from_partial
        :: else -> see_active(HEAP_OF_ME)
        fi
    }
active_reserve:
    atomic {
        CRASH_POINT;
        /* A failed CAS: another reservation, installation or purge succeeded. */
        if
        :: active_desc[HEAP_OF_ME] != seen_active || active_credits[HEAP_OF_ME] != seen_credits ->
            seen_active = 0; seen_credits = 0; goto malloc_from_active
        :: else
        fi;
        d = seen_active; reserved[me] = 1; reserved_in[me] = d; last_credit = (seen_credits == 0);
        if
        :: last_credit -> active_desc[HEAP_OF_ME] = NIL; take_in_hand(IN_HEAP)
        :: else -> active_credits[HEAP_OF_ME] = seen_credits - 1
        fi;
        seen_active = 0; seen_credits = 0
    }
active_pop:
    atomic { CRASH_POINT; read_anchor() }
    atomic { CRASH_POINT; read_link() }
    atomic {
        CRASH_POINT;
        /* A failed CAS: another malloc, free or purge succeeded on this superblock. */
        if
        :: !SAME_ANCHOR -> unwatch(); goto active_pop
        :: else
        fi;
        pop_block(); tag_anchor(); reserved[me] = 0; reserved_in[me] = 0;
        if
        :: !last_credit -> unwatch(); finish_malloc()
        :: last_credit && seen_count == 0 ->
            RULE(STATE_FITS, seen_state == ACTIVE);
            state[d] = FULL; put_from_hand(NOWHERE); unwatch(); last_credit = 0; finish_malloc()
        :: else ->
            RULE(STATE_FITS, seen_state == ACTIVE);
            more = MIN_CREDITS(seen_count); count[d] = seen_count - more;
            reserved[me] = more; reserved_in[me] = d; unwatch(); last_credit = 0
        fi
    }

    /* ---- UpdateActive [0063] ---- */
update_active:
    atomic {
        CRASH_POINT;
        if
        :: active_desc[HEAP_OF_ME] == NIL ->
            active_desc[HEAP_OF_ME] = d; active_credits[HEAP_OF_ME] = more - 1;
            put_from_hand(IN_HEAP); reserved[me] = 0; reserved_in[me] = 0; more = 0; finish_malloc()
        :: else
        fi
    }
#ifdef M_PUSH_TOO_EARLY
    i = d; partial_push(); d = i; i = 0;
#endif
update_active_lost:
    atomic { CRASH_POINT; read_anchor() }
    atomic {
        CRASH_POINT;
        /* A failed CAS: another malloc or free succeeded on this superblock. */
        if
        :: !SAME_ANCHOR -> unwatch(); goto update_active_lost
        :: else
        fi;
#ifdef M_UPDATE_LOSES_CREDITS
        state[d] = PARTIAL; tag_anchor();
#else
        count[d] = seen_count + more; state[d] = PARTIAL; tag_anchor();
#endif
        reserved[me] = 0; reserved_in[me] = 0; more = 0; unwatch()
    }
#if !defined(M_UPDATE_FORGETS_PUSH) && !defined(M_PUSH_TOO_EARLY)
    partial_push();
#endif
    atomic { finish_malloc() }

    /* ---- MallocFromPartial [0069]: from either list ---- */
malloc_from_partial:
    tries = 2;
    if :: into = 0 :: into = 1 fi;
    do
    :: pop(into);
       tries--;
       if :: d != NIL || tries == 0 -> break :: else -> into = 1 - into fi
    od;
    into = 0; tries = 0;
    if :: d == NIL -> goto malloc_from_new :: else fi;
partial_pop:
    atomic { CRASH_POINT; read_anchor() }
    if
#ifdef M_NO_EMPTY_CHECK
    :: false
#else
    :: seen_state == EMPTY -> unwatch(); retire(); goto malloc_from_partial
#endif
    :: else
    fi;
    atomic { CRASH_POINT; read_link() }
    atomic {
        CRASH_POINT;
        /* A failed CAS: another free succeeded on this superblock. */
        if
        :: !SAME_ANCHOR -> unwatch(); goto partial_pop
        :: else
        fi;
        RULE(STATE_FITS, seen_state == PARTIAL);
        pop_block(); tag_anchor();
        if
        :: seen_count == 1 ->
            count[d] = 0; state[d] = FULL; put_from_hand(NOWHERE); unwatch(); finish_malloc()
        :: else ->
            more = MIN_CREDITS(seen_count - 1); count[d] = seen_count - 1 - more; state[d] = ACTIVE;
            reserved[me] = more; reserved_in[me] = d; unwatch(); goto update_active
        fi
    }

    /* ---- MallocFromNewSB [0073] ---- */
malloc_from_new:
    pop(RETIRED);
    if
    :: d == NIL ->
        atomic {
            CRASH_POINT;
            if
            :: never_used == SUPERBLOCKS -> goto idle   /* out of memory */
            :: else -> d = never_used; never_used++; count[d] = BLOCKS; state[d] = EMPTY; take_in_hand(NOWHERE)
            fi
        }
    :: else
    fi;
    atomic {
        CRASH_POINT;
        RULE(ONE_CONTAINER, where[d] == IN_HAND + me);
        RULE(STATE_FITS, state[d] == EMPTY);
        MUST(LIVE_KEPT, !committed[d] && NOTHING_LIVE(d));
        committed[d] = 1;
        own[BLOCK(d, 0)] = HELD + me; link[BLOCK(d, 0)] = POISON;
        /* The chain is the whole superblock, and count says so: EMPTY stores maxcount. */
        more = MIN_CREDITS(BLOCKS - 1);
        avail[d] = 1; count[d] = count[d] - 1 - more; state[d] = ACTIVE; tag_anchor();
        reserved[me] = more; reserved_in[me] = d
    }
    atomic {
        CRASH_POINT;
        /* A failed CAS: another thread has installed a superblock. */
        if
#ifdef M_INSTALL_OVERWRITES
        :: true ->
#else
        :: active_desc[HEAP_OF_ME] == NIL ->
#endif
            active_desc[HEAP_OF_ME] = d; active_credits[HEAP_OF_ME] = more - 1;
            put_from_hand(IN_HEAP); reserved[me] = 0; reserved_in[me] = 0; more = 0; finish_malloc()
#ifndef M_INSTALL_OVERWRITES
        :: else -> more = 0
#endif
        fi
    }
    atomic {
        CRASH_POINT;
        RULE(RIGHT_TO_TOUCH, RIGHT(d));
        /* Block 0 was never written: its link still leads to block 1. */
        avail[d] = 0; link[BLOCK(d, 0)] = 1;
        count[d] = EMPTY_COUNT; state[d] = EMPTY; tag_anchor();
        reserved[me] = 0; reserved_in[me] = 0; pass_blocks(FREE)
    }
#ifdef M_NEW_LOSER_FORGETS
    d = NIL;
#else
    retire();
#endif
    goto malloc_from_active;

    /* ---- purge of a heap: its ACTIVE superblock becomes PARTIAL, or EMPTY and retired by its remover ---- */
purge:
    atomic {
        CRASH_POINT;
        if
        :: active_desc[i] == NIL -> i = 0; goto idle
        :: else -> see_active(i)
        fi
    }
purge_take:
    atomic {
        CRASH_POINT;
        /* A failed CAS: another reservation, installation or purge succeeded. */
        if
        :: active_desc[i] != seen_active || active_credits[i] != seen_credits ->
            seen_active = 0; seen_credits = 0; goto purge
        :: else
        fi;
        d = seen_active; more = seen_credits + PURGED; active_desc[i] = NIL; active_credits[i] = 0; i = 0;
        take_in_hand(IN_HEAP); reserved[me] = more; reserved_in[me] = d;
        seen_active = 0; seen_credits = 0
    }
purge_return:
    atomic { CRASH_POINT; read_anchor() }
    atomic {
        CRASH_POINT;
        /* A failed CAS: another malloc or free succeeded on this superblock. */
        if
        :: !SAME_ANCHOR -> unwatch(); goto purge_return
        :: else
        fi;
        RULE(STATE_FITS, seen_state == ACTIVE);
        count[d] = seen_count + more; tag_anchor();
        reserved[me] = 0; reserved_in[me] = 0; more = 0; unwatch();
        if
#ifdef M_PURGE_TRUSTS_LIVE_COUNT
        :: TALLY(d, FREE) == BLOCKS -> state[d] = EMPTY; goto free_retire
#else
        :: count[d] == BLOCKS -> count[d] = EMPTY_COUNT; state[d] = EMPTY; goto free_retire
#endif
        :: else -> state[d] = PARTIAL; goto free_push
        fi
    }

    /* Stopped for ever: what it held stays held, its registers are of no use to anybody. */
dead:
    atomic {
        stopped[me] = 1;
        unwatch(); operations = 0; d = NIL; i = 0; seen_active = 0; seen_credits = 0; more = 0;
        batch = 0; first = 0; last = 0; into = 0; tries = 0; last_credit = 0
    }
done:
    finished++
}
