/* Request tokens beside a move of slots: one request with a token, sent several times, whose deciding
 * shard changes.
 *
 * The steps M4, M8 and M12 are those of docs/design/resharding.md, T4 and T7 those of
 * docs/design/transactions.md; transact_token.pml is the model of one shard. Checked exhaustively by
 * tests/unit/test_moving_model.py:
 *
 *     spin -a moving_token.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan -E
 *
 * Each of these takes a mechanism out, and must be found wrong:
 *     -DNOT_COPIED   the move leaves tokens behind
 *     -DNOT_LOGGED   it leaves those behind that come after M4
 *     -DOWN          an attempt keeps the generation of the source, and the target compares it
 *     -DNEWER        it takes the target's generation as it is when it comes there
 *     -DANY          it takes that of the switch, however old its own is
 *     -DEARLY        a copied token has the target's generation of when it was copied
 *     -DREACHED      nothing is taken out; asserts that no attempt goes on at the target
 *
 * Generations are counted up at any time, on each shard. See transact_token.pml for "seen for long",
 * and for what is another request.
 */

#ifndef RAISES
#define RAISES 2  /* of the source */
#endif
#ifndef TARGET_RAISES
#define TARGET_RAISES 3
#endif

#define S 0
#define T 1
#define HIGH 255

byte owner;
byte generation[2];
bool kept[2];             /* the token's row */
byte kept_generation[2];
byte at_switch[2];        /* generations */

/* For the assertions alone. */
bool happened;
bool over;                /* the ten minutes */

#define IN_TIME(g, s) (g <= generation[s] && generation[s] <= g + 1)

proctype Attempt() {
    byte g, began;
    atomic { !over -> began = owner; g = generation[owner] };
    /* The commit, where the slot is by now. */
    atomic {
#if defined(OWN)
        skip;
#elif defined(NEWER)
        g = (began != owner -> generation[owner] : g);
#else
        if
#ifndef ANY
        :: began != owner && g + 1 < at_switch[S] -> goto unknown
        :: began != owner && g + 1 >= at_switch[S] -> g = at_switch[T]
#else
        :: began != owner -> g = at_switch[T]
#endif
        :: began == owner
        fi;
#endif
        if
        :: kept[owner]  /* a repeated request */
        :: !kept[owner] && !IN_TIME(g, owner)  /* "unknown" */
        :: !kept[owner] && IN_TIME(g, owner) ->
#ifdef REACHED
            assert(began == owner);
#endif
            assert(!happened);
            happened = true;
            kept[owner] = true; kept_generation[owner] = generation[owner]
        fi };
unknown:
    atomic { g = 0; began = 0 }
}

/* T7. */
proctype Worker(byte s) {
    byte seen, below, limit;
    do
    :: atomic { generation[s] < (s == S -> RAISES : TARGET_RAISES) -> generation[s]++ }
    :: atomic { seen != generation[s] -> seen = generation[s] }
    :: atomic { seen > below ->
        below = seen; limit = generation[s] + 2;
        over = over || (kept[s] && kept_generation[s] < below) }
    :: atomic { kept[s] && kept_generation[s] < below && generation[s] >= limit ->
        kept[s] = false; kept_generation[s] = 0 }
    od
}

inline copy() {
    if
    :: kept[S] && !kept[T] ->
        kept[T] = true;
#ifdef EARLY
        kept_generation[T] = generation[T]
#else
        kept_generation[T] = HIGH
#endif
    :: else
    fi
}

proctype Mover() {
#ifndef NOT_COPIED
    atomic { copy() };  /* M4 */
#endif
    atomic {  /* M8 to M11 */
#if !defined(NOT_COPIED) && !defined(NOT_LOGGED)
        copy();
#endif
        at_switch[S] = generation[S]; at_switch[T] = generation[T];
        owner = T };
    /* M12. */
    atomic {
        if
        :: kept[T] && kept_generation[T] == HIGH -> kept_generation[T] = generation[T]
        :: else
        fi;
        kept[S] = false; kept_generation[S] = 0 }
}

init {
    atomic {
        run Worker(S); run Worker(T);
        run Attempt(); run Attempt();
#ifdef THREE
        run Attempt();
#endif
        run Mover()
    }
}
