/* TransactGetItems beside transactions, plain writes, resolvers and the clean-up of decisions.
 *
 * The steps G1 to G3 are those of docs/design/transactions.md. Checked exhaustively by
 * tests/unit/test_transaction_model.py:
 *
 *     spin -a transact_get.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan -E
 *
 * Each of these takes a mechanism out, and must be found wrong:
 *     -DONE_LOOK       no step G3
 *     -DNO_DECISION    no step G2: what is read beside an intent is believed
 *     -DLATE_DECISION  step G2 comes after G3
 *     -DMASKED         step G3 compares versions without marks, and the intents that G1 found
 *     -DNO_GUARD       with MOVE: the slot guard is compared in G1 only
 *     -DEARLY_CLEAN    COMMITTED is deleted while intents are there
 *     -DREACHED        nothing is taken out; asserts that no reader sees both transactions
 *
 * Item i lies on shard i, and both transactions write all items. Transaction t decides on shard
 * t - 1. What matters of an item is which transactions have written it, and its version. A reader
 * reads all items or one. It must see each transaction whole, and every transaction that was
 * answered, or seen by a reader, before it began. With MOVE, the slot of item 0 moves once, with
 * its intents; then the rows that the old shard has stay as they are.
 *
 * Every statement of a reader is a step of its own: items with versions and marks; intents, of marked
 * rows alone; guards.
 */

#ifndef SHARDS
#define SHARDS 2
#endif
#ifndef WRITES
#define WRITES 1   /* of the plain writer */
#endif
#ifndef READS
#define READS 2
#endif

#define UNDECIDED 0
#define COMMITTED 1
#define ABORTED 2
#define DECIDER(t) (t - 1)
#define BIT(t) (1 << (t - 1))
#define ALL ((1 << SHARDS) - 1)

byte written[SHARDS];   /* by which transactions */
byte version[SHARDS];
byte intent[SHARDS];
byte decision[3];
byte answered;          /* transactions that were answered, or seen */
bool moved;             /* item 0; what its old shard has of it: */
byte old_written, old_version, old_intent;

inline apply(t, i) {
    atomic {
        if
        :: intent[i] == t -> written[i] = written[i] | BIT(t); version[i]++; intent[i] = 0
        :: else
        fi
    }
}

proctype Coordinator(byte t) {
    byte i;
    i = 0;
    do
    :: i == SHARDS -> break
    :: i == DECIDER(t) -> i++
    :: i < SHARDS && i != DECIDER(t) ->
        if
        :: goto dead
        :: atomic { intent[i] == 0 -> intent[i] = t; i++ }
        fi
    od;
    i = DECIDER(t);
    if
    :: goto dead
    :: atomic { intent[i] == 0 && decision[t] == UNDECIDED ->
        decision[t] = COMMITTED; written[i] = written[i] | BIT(t); version[i]++ }
    :: atomic { decision[t] == ABORTED -> goto dead }
    fi;
    i = 0;
    do
    :: i < SHARDS ->
        if
        :: goto dead
        :: true -> apply(t, i); i++
        fi
    :: i == SHARDS -> break
    od;
    answered = answered | BIT(t);
dead:
    i = 0
}

proctype Resolver() {
    byte i, t;
    bool committed;
end:
    do
    :: atomic {
        if
        :: intent[0] != 0 -> i = 0
        :: intent[1] != 0 -> i = 1
#if SHARDS > 2
        :: intent[2] != 0 -> i = 2
#endif
        fi;
        t = intent[i] };
        atomic {
            if
            :: decision[t] == UNDECIDED -> decision[t] = ABORTED
            :: else
            fi;
            committed = (decision[t] == COMMITTED) }
        if
        :: committed -> apply(t, i)
        :: else -> atomic {
            if
            :: intent[i] == t -> intent[i] = 0
            :: else
            fi }
        fi;
        atomic { i = 0; t = 0; committed = false }
    od
}

#if SHARDS > 2
#define LEFT(t) (intent[0] == t || intent[1] == t || intent[2] == t)
#else
#define LEFT(t) (intent[0] == t || intent[1] == t)
#endif
#ifdef EARLY_CLEAN
#define MAY_GO(t) (decision[t] == COMMITTED)
#else
#define MAY_GO(t) (decision[t] == COMMITTED && !LEFT(t))
#endif

/* Only COMMITTED: what fences ABORTED is in transaction.pml. An intent may not come back. */
proctype Cleaner() {
end:
    do
    :: atomic { MAY_GO(1) -> decision[1] = UNDECIDED }
    :: atomic { MAY_GO(2) -> decision[2] = UNDECIDED }
    od
}

proctype Writer() {
    byte i, n;
    do
    :: n < WRITES ->
        n++;
        if
        :: i = 0
        :: i = 1
        fi;
        if
        :: atomic { intent[i] == 0 -> version[i]++ }
        :: break
        fi
    :: n == WRITES -> break
    od
}

#ifdef MOVE
proctype Mover() {
    atomic {
        old_written = written[0]; old_version = version[0]; old_intent = intent[0];
        moved = true }
}
#endif

/* What a reader reads: it may not know that item 0 has moved. */
#define IS_OLD(i) (i == 0 && moved && !knows)
#define ROW(i) (IS_OLD(i) -> old_written : written[i])
#define VERSION(i) (IS_OLD(i) -> old_version : version[i])
#define INTENT(i) (IS_OLD(i) -> old_intent : intent[i])
#define IS_READ(i) (which & (1 << i))
#define MARKED(i) (INTENT(i) != 0)
#ifdef MASKED
#define IS_SAME(i) (seen_version[i] == VERSION(i))
#else
#define IS_SAME(i) (seen_version[i] == VERSION(i) && marked[i] == MARKED(i))
#endif

inline forget() {
    for (i : 0 .. SHARDS - 1) {
        seen[i] = 0; seen_version[i] = 0; seen_intent[i] = 0; marked[i] = false
    };
    i = 0
}

/* G2. The decision about each intent: it must not be COMMITTED. */
inline decisions() {
    i = 0;
#ifndef NO_DECISION
    do
    :: i < SHARDS ->
        if
        :: atomic { seen_intent[i] != 0 && decision[seen_intent[i]] == COMMITTED ->
            forget(); goto look }
        :: atomic { seen_intent[i] == 0 || decision[seen_intent[i]] != COMMITTED -> i++ }
        fi
    :: i == SHARDS -> break
    od
#endif
}

inline guard() {
    if
    :: atomic { IS_READ(0) && knows != moved -> knows = moved; forget(); goto look }
    :: atomic { !(IS_READ(0) && knows != moved) }
    fi
}

proctype Reader() {
    byte i, n, which, before, now;
    byte seen[SHARDS], seen_version[SHARDS], seen_intent[SHARDS];
    bool marked[SHARDS], knows;
    do
    :: n < READS ->
        atomic {
            n++;
            before = answered;
            if
            :: which = ALL
            :: which = 1
            :: which = 2
            fi };
look:
        /* G1. Items, versions and marks; then intents. */
        i = 0;
        do
        :: atomic { i < SHARDS && !IS_READ(i) -> i++ }
        :: atomic { i < SHARDS && IS_READ(i) ->
            seen[i] = ROW(i); seen_version[i] = VERSION(i); marked[i] = MARKED(i) };
            if
            :: atomic { marked[i] -> seen_intent[i] = INTENT(i); i++ }
            :: atomic { !marked[i] -> i++ }
            fi
        :: i == SHARDS -> break
        od;
#ifdef NO_GUARD
        guard();
#endif
#ifndef LATE_DECISION
        decisions();
#endif
        /* G3. Versions and marks again; then intents; then the guard. */
#ifndef ONE_LOOK
        i = 0;
        do
        :: atomic { i < SHARDS && !IS_READ(i) -> i++ }
        :: atomic { i < SHARDS && IS_READ(i) && !IS_SAME(i) -> forget(); goto look }
        :: atomic { i < SHARDS && IS_READ(i) && IS_SAME(i) };
            if
            :: atomic { marked[i] && seen_intent[i] != INTENT(i) -> forget(); goto look }
            :: atomic { marked[i] && seen_intent[i] == INTENT(i) -> i++ }
            :: atomic { !marked[i] -> i++ }
            fi
        :: i == SHARDS -> break
        od;
#endif
#ifndef NO_GUARD
        guard();
#endif
#ifdef LATE_DECISION
        decisions();
#endif
        atomic {
            now = seen[(which == 2 -> 1 : 0)];
            for (i : 0 .. SHARDS - 1) {
                assert(!IS_READ(i) || seen[i] == now)
            }
            assert((now & before) == before);
            answered = answered | now;
#ifdef REACHED
            assert(which != ALL || now != 3);
#endif
            forget(); which = 0; before = 0; now = 0 }
    :: n == READS -> break
    od
}

init {
    atomic {
#if WRITES > 0
        run Writer();
#endif
        run Reader();
#ifdef MOVE
        run Mover();
#endif
        run Cleaner();
        run Resolver();
        run Coordinator(1);
        run Coordinator(2)
    }
}
