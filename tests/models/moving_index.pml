/* Moving index rows from one shard to another, beside indexers: one stream of events, the row of an
 * index that moves, and a row that the target has already.
 *
 * The steps M1 to M11 are those of docs/design/resharding.md. Checked exhaustively by
 * tests/unit/test_moving_model.py:
 *
 *     spin -a moving_index.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan -E
 *
 * Each of these takes a mechanism out, and must be found wrong:
 *     -DNO_EPOCH      indexers do not compare the epoch with the slot guard
 *     -DNO_LOG        they do not log what they change
 *     -DNO_CLOSE      M9 does not raise the source's guard
 *     -DNO_TARGET     M9 does not raise the target's guard
 *     -DPARTLY        indexers apply the rest of a batch that has a row which is closed
 *     -DNO_EQUAL      M10 leaves the target's checkpoint as it is
 *     -DONLY_RAISE    M10 raises it, and applies nothing
 *     -DLOWER         M10 sets it to the lower one of both, and applies nothing
 *     -DNO_LOCK       M10 does not lock the checkpoints
 *     -DREACHED       nothing is taken out; asserts that the row never moves
 * With AWAY (targets may be away, see paused.pml):
 *     -DNO_TELL       a target is told how far a batch goes without a look at its guard
 *     -DNO_RESUME     who misses events does not begin again there when the slots change
 *
 * Which rows an event has is chosen at the beginning. A row shows its last event. Each of two
 * indexers may stop for ever, or begin again from the recorded progress, at any step: one that wakes
 * up late is one that did not move for a time. What is recorded as applied must be there for whoever
 * reads, and what a checkpoint says likewise.
 */

#ifndef EVENTS
#define EVENTS 2
#endif
#ifndef BACKS
#define BACKS 1
#endif
#ifndef INDEXERS
#define INDEXERS 2
#endif

#define S 0
#define T 1

#define COPYING 1
#define CLOSED 2
#define DONE 3

#define NOTHING 255

bool moving[4];  /* the event has the row that moves */
bool staying[4]; /* and the one that the target has */

/* The catalog. */
byte state;
byte epoch[2] = 1;

/* The shards. */
byte guard[2] = 1;
byte row[2];         /* the row that moves, on each */
byte own;            /* the one that stays */
byte checkpoint[2];
bool held;           /* both checkpoints, by the mover */
byte logged;
byte applied;        /* noted on the stream's own shard */

#define OWNER (state == DONE -> T : S)

#ifdef NO_EPOCH
#define MAY(x) true
#else
#define MAY(x) (guard[x] <= known[x])
#endif

inline load() {
    atomic {
#if defined(AWAY) && !defined(NO_RESUME)
        if
        :: phase != state -> resume()
        :: else
        fi;
#endif
        phase = state; known[S] = epoch[S]; known[T] = epoch[T] }
}

/* Read again what a target misses. */
inline resume() {
    d_step {
        position = (missed[S] < position -> missed[S] : position);
        position = (missed[T] < position -> missed[T] : position);
        missed[S] = NOTHING; missed[T] = NOTHING;
        upto = position; done[S] = false; done[T] = false
    }
}

#define AT_HAND (phase == DONE -> T : S)

#ifdef NO_TELL
#define MAY_TELL(x) true
#else
#define MAY_TELL(x) MAY(x)
#endif

/* Note on a target that it has all of a batch, of which another one misses something. */
inline tell(x) {
    checkpoint[x] = (upto > checkpoint[x] -> upto : checkpoint[x])
}

/* What a batch does on one target, in one transaction. */
inline apply(x) {
    d_step {
        next = checkpoint[x] + 1;
        next = (position + 1 > next -> position + 1 : next);
        do
        :: next <= upto ->
            if
            :: moving[next] && AT_HAND == x &&
                    (phase != CLOSED) ->
                row[x] = next;
                checkpoint[x] = next;
#ifndef NO_LOG
                logged = (phase == COPYING -> logged | (1 << next) : logged)
#endif
            :: else
            fi;
            if
            :: staying[next] && x == T -> own = next; checkpoint[x] = next
            :: else
            fi;
            next++
        :: else -> break
        od;
        next = 0
    }
}

proctype Indexer() {
    byte position, upto, phase, next;
    byte known[2];
    byte missed[2];
    bool done[2], waits;
    atomic { missed[S] = NOTHING; missed[T] = NOTHING };
    atomic { position = applied; upto = position; known[S] = epoch[S]; known[T] = epoch[T]; phase = state };
    do
    :: atomic { phase != state || known[S] != epoch[S] -> load(); done[S] = false; done[T] = false }
    :: atomic { upto == position && position < EVENTS ->
        if
        :: upto = position + 1
        :: position + 2 <= EVENTS -> upto = position + 2
        fi }
#ifdef AWAY
    :: atomic { upto > position && !done[S] && missed[S] == NOTHING -> missed[S] = position }
    :: atomic { upto > position && !done[T] && missed[T] == NOTHING -> missed[T] = position }
    :: atomic { missed[S] != NOTHING || missed[T] != NOTHING -> resume() }
#endif
    :: atomic { upto > position ->
        d_step {
            waits = false;
#ifndef PARTLY
            next = position + 1;
            do
            :: next <= upto -> waits = waits || (moving[next] && phase == CLOSED); next++
            :: else -> break
            od;
            next = 0
#endif
        };
        !waits;
        if
        :: !done[S] && missed[S] != NOTHING -> done[S] = true
        :: !done[T] && missed[T] != NOTHING -> done[T] = true
        :: !done[S] && missed[S] == NOTHING && !held && MAY(S) -> apply(S); done[S] = true
        :: !done[T] && missed[T] == NOTHING && !held && MAY(T) -> apply(T); done[T] = true
        :: done[S] && done[T] ->
#ifdef AWAY
            if
            :: missed[S] != NOTHING && missed[T] == NOTHING && !held && MAY_TELL(T) -> tell(T)
            :: missed[T] != NOTHING && missed[S] == NOTHING && !held && MAY_TELL(S) -> tell(S)
            :: true
            fi;
#endif
            position = upto; done[S] = false; done[T] = false;
            if
            :: true  /* it is recorded with a later batch */
            :: d_step {
                next = (missed[S] < position -> missed[S] : position);
                next = (missed[T] < next -> missed[T] : next);
                applied = (next > applied -> next : applied);
                next = 0 }
            fi
        fi }
    od
}

inline copy() {
    mask = logged;
    read = row[S];
    row[T] = read;
    atomic { logged = logged & ~mask; mask = 0; read = 0 }
}

proctype Mover() {
    byte mask, read, low, high;
    atomic { state = COPYING; epoch[S]++ };
    guard[S] = epoch[S];
    copy();
again:
    do
    :: logged -> copy()
    :: true -> break
    od;
    /* M9. */
    atomic { state == COPYING -> state = CLOSED; epoch[S]++; epoch[T]++ };
#ifndef NO_CLOSE
    guard[S] = epoch[S];
#endif
#ifndef NO_TARGET
    guard[T] = epoch[T];
#endif
    /* M10. */
    do
    :: logged -> copy()
    :: atomic { !logged -> break }
    od;
#ifndef NO_LOCK
    held = true;
#endif
    low = checkpoint[S];
    high = checkpoint[T];
    atomic {
        read = (low < high -> low : high);
        high = (low < high -> high : low);
        low = (read < applied -> applied : read);
        read = 0 };
    d_step {
#if defined(NO_EQUAL)
        skip;
#elif defined(ONLY_RAISE)
        checkpoint[T] = high;
#elif defined(LOWER)
        checkpoint[T] = low;
#else
        do
        :: low < high ->
            low++;
            row[T] = (moving[low] -> low : row[T]);
            own = (staying[low] -> low : own)
        :: else -> break
        od;
        checkpoint[T] = high;
#endif
        held = false; low = 0; high = 0
    };
    /* M11. */
    atomic {
        if
        :: state == CLOSED -> state = DONE
        :: else -> goto again
        fi };
#ifdef REACHED
    assert(false)
#endif
}

/* Whoever waits. */
proctype Others() {
    byte backs;
    do
    :: atomic { backs < BACKS && state == CLOSED -> state = COPYING; backs++ }
    od
}

#define SHOWS(e) (e > applied || ((!moving[e] || row[OWNER] >= e) && (!staying[e] || own >= e)))
#define CONTAINS(e) (e > checkpoint[OWNER] || !moving[e] || row[OWNER] >= e)
#define HAS(e) (e > checkpoint[T] || !staying[e] || own >= e)
#define RIGHT(e) ((state == CLOSED || (SHOWS(e) && CONTAINS(e))) && HAS(e))

active proctype Monitor() {
#if EVENTS > 2
    atomic { !(RIGHT(1) && RIGHT(2) && RIGHT(3)) -> assert(false) }
#else
    atomic { !(RIGHT(1) && RIGHT(2)) -> assert(false) }
#endif
}

init {
    byte e = 1;
    atomic {
        do
        :: e <= EVENTS ->
            if
            :: moving[e] = true
            :: staying[e] = true
            :: moving[e] = true; staying[e] = true
            fi;
            e++
        :: e > EVENTS -> break
        od;
        e = 0;
        run Indexer();
#if INDEXERS > 1
        run Indexer();
#endif
        run Mover();
        run Others()
    }
}
