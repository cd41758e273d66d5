/* Request tokens: one request with a token that is sent several times.
 *
 * The steps T1 to T7 are those of docs/design/transactions.md. Checked exhaustively by
 * tests/unit/test_transaction_model.py:
 *
 *     spin -a transact_token.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan -E
 *
 * Each of these takes a mechanism out, and must be found wrong:
 *     -DNO_LOOK           the commit does not look the token up
 *     -DNO_GENERATION     the commit does not compare the generation
 *     -DONLY_SEEN         T7: a higher generation was seen for long, and that is all
 *     -DONLY_OLDER        T7: the generation is two higher, and that is all
 *     -DOLDER             T7: both of them
 *     -DREACHED           nothing is taken out; asserts that no token is found
 * With SEVERAL:
 *     -DNEWER             an attempt takes the generation anew with each of its ids
 *     -DNO_LAST_LOOK      "cancelled" is answered without another look at the token
 *     -DNO_LAST_GENERATION  that look does not look at the generation
 *     -DGENERATION_FIRST  or looks at it before the token
 *     -DUNAPPLIED         a repeated answer does not wait until all is applied
 *
 * The request has a part on the deciding shard and, with SEVERAL, an intent on another one. Whether
 * a condition holds is open each time, since others write the items. An attempt begins when it takes
 * the shard's generation. With SEVERAL it may have several ids, one after another.
 *
 * Generations are raised at any time (by workers, or twice at once by a new incarnation). A worker
 * has seen one "for long" (600 s) at any time after it has seen it. From then on, who has not begun
 * is another request, as DynamoDB's ten minutes are over; who has begun must not do it again, however
 * long it sleeps.
 */

#ifndef ATTEMPTS
#define ATTEMPTS 2
#endif
#ifdef SEVERAL
#define IDS 2  /* of the first attempt; each other one has one */
#else
#define IDS 1
#endif
#define LAST(a) (IDS + a - 1)
#ifndef RAISES
#define RAISES 3
#endif

#define UNDECIDED 0
#define COMMITTED 1
#define ABORTED 2

byte generation;
bool kept;              /* the token's row */
byte kept_generation;
byte winner;            /* id in the token's row */
byte intent;            /* on the other shard: an id, or 0 */
byte decision[ATTEMPTS + IDS];
byte placed[ATTEMPTS + IDS];  /* generation in the intents of each id */

/* For the assertions alone. */
bool happened;
bool over;              /* the ten minutes */

#define IN_TIME(g) (g <= generation && generation <= g + 1)
#ifdef NO_GENERATION
#define MAY_COMMIT(g) true
#else
#define MAY_COMMIT(g) IN_TIME(g)
#endif
#ifdef NO_LOOK
#define IS_KNOWN false
#else
#define IS_KNOWN kept
#endif

inline release(t) {
    atomic {
        if
        :: intent == t -> intent = 0
        :: else
        fi
    }
}

/* T6 of an id: what became of it. */
inline ask(t) {
    atomic {
        if
        :: decision[t] == UNDECIDED && IN_TIME(placed[t]) -> decision[t] = ABORTED
        :: else
        fi };
    now = generation;
    found = decision[t]
}

proctype Attempt(byte a) {
    byte g, id, met, now, found;
    bool known, had;
    atomic { !over -> g = generation; id = (a == 1 -> 0 : LAST(a) - 1) };
again:
    atomic {
        id++;
#ifdef NEWER
        g = generation;
#endif
        placed[id] = g };
#ifdef SEVERAL
    /* T2. */
    if
    :: atomic { IS_KNOWN -> goto repeated }
    :: atomic { !IS_KNOWN }
    fi;
    /* T3. */
prepare:
    if
    :: goto dead
    :: goto refused
    :: goto another  /* its answer is lost */
    :: atomic { intent == 0 -> intent = id }
    :: atomic { intent != 0 -> met = intent };
        ask(met);
        if
        :: found == UNDECIDED && now <= placed[met] + 1
        :: else -> release(met)  /* T5 or release: the intent goes */
        fi;
        atomic { met = 0; now = 0; found = 0; goto prepare }
    fi;
#endif
    /* T4, or the one commit. */
    if
    :: goto dead
#ifdef SEVERAL
    :: goto refused
#endif
    :: atomic {
        if
        :: IS_KNOWN -> goto repeated
        :: !IS_KNOWN && decision[id] == ABORTED -> goto another
        :: !IS_KNOWN && decision[id] != ABORTED && !MAY_COMMIT(g) -> goto dead  /* "unknown" */
#ifndef SEVERAL
        :: !IS_KNOWN && MAY_COMMIT(g) ->  /* a condition does not hold */
            assert(!happened); goto dead
#endif
        :: !IS_KNOWN && decision[id] != ABORTED && MAY_COMMIT(g) ->
            assert(!happened);
            happened = true;
            decision[id] = COMMITTED;
            kept = true; kept_generation = generation; winner = id;
            if
            :: goto repeated
#ifdef SEVERAL
            :: true  /* the answer is lost */
#endif
            fi
        fi }
    fi;
#ifdef SEVERAL
    ask(id);
    if
    :: atomic { found == COMMITTED -> goto repeated }
    :: atomic { found == ABORTED -> goto another }
    :: atomic { found == UNDECIDED -> goto dead }  /* "unknown" */
    fi;
#endif
another:
    atomic { now = 0; found = 0 };
    release(id);
    if
    :: id < LAST(a) -> goto again
    :: true -> goto refused
    fi;
refused:
    release(id);
#ifdef GENERATION_FIRST
    now = generation;
#endif
#ifdef NO_LAST_LOOK
    had = happened;
#else
    atomic { known = IS_KNOWN; had = happened };
#endif
#ifndef GENERATION_FIRST
    now = generation;
#endif
    if
    :: atomic { known -> goto repeated }
#ifdef NO_LAST_GENERATION
    :: atomic { !known -> assert(!had) }
#else
    :: atomic { !known && now > g + 1 }  /* "unknown" */
    :: atomic { !known && now <= g + 1 -> assert(!had) }  /* "cancelled" */
#endif
    fi;
    goto dead;
repeated:
    /* It happened; what is left of it is applied. */
    release(id);
#ifndef UNAPPLIED
    release(winner);
#endif
    atomic {
        assert(happened && intent != winner);
#ifdef REACHED
        assert(decision[id] == COMMITTED)
#endif
    };
dead:
    atomic { g = 0; met = 0; now = 0; found = 0; known = false; had = false }
}

/* T7. */
proctype Worker() {
    byte seen, below, limit;
end:
    do
    :: atomic { generation < RAISES -> generation++ }
    :: atomic { seen != generation -> seen = generation }
    :: atomic { seen > below ->
        /* It has seen this one for long. */
        below = seen; limit = generation + 2;
        over = over || (kept && kept_generation < below) }
#if defined(ONLY_SEEN)
    :: atomic { kept && kept_generation < below -> kept = false; kept_generation = 0 }
#elif defined(ONLY_OLDER)
    :: atomic { kept && kept_generation + 2 <= generation -> kept = false; kept_generation = 0 }
#elif defined(OLDER)
    :: atomic { kept && kept_generation < below && kept_generation + 2 <= generation ->
        kept = false; kept_generation = 0 }
#else
    :: atomic { kept && kept_generation < below && generation >= limit ->
        kept = false; kept_generation = 0 }
#endif
    od
}

init {
    atomic {
        run Worker();
        run Attempt(1);
        run Attempt(2);
#if ATTEMPTS > 2
        run Attempt(3)
#endif
    }
}
