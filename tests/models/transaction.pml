/* Transactions across shards: two transactions, a plain writer, resolvers and the clean-up.
 *
 * The steps T1 to T7 are those of docs/design/transactions.md. Checked exhaustively by
 * tests/unit/test_transaction_model.py:
 *
 *     spin -a transaction.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan -E
 *
 * Each of these takes a mechanism out, and must be found wrong:
 *     -DNO_UNIQUE       T4 writes COMMITTED over ABORTED
 *     -DONE_PACKET      a T3 that is sent as one packet may come twice, however late
 *     -DIGNORED         plain writers do not look at intents
 *     -DKEPT            T5 deletes the intent in a transaction of its own, behind the row's
 *     -DNO_PLACEHOLDER  T3 leaves an intent on an absent item without a row in the table
 *     -DNO_OWN          T4 decides a check of an absent item of its own without a row
 *     -DEARLY           the coordinator applies before it decides
 *     -DNO_ABORTED      a resolver takes an undecided intent away without inserting ABORTED
 *     -DNO_GENERATION   T4 does not compare the generation
 *     -DANY_GENERATION  T6 inserts ABORTED without comparing the generation
 *     -DEARLY_CLEAN     T7 deletes COMMITTED without looking for intents
 *     -DLOOSE           a coordinator that lost the answer to T4 believes that it failed
 *     -DNO_JUMP         with RESTORE: the new incarnation has the generation of the backup
 *     -DNO_RESOLVER     nobody resolves what is left
 *     -DSOON            the coordinator answers when it has decided
 *     -DREACHED         nothing is taken out; asserts that both transactions never commit
 *
 * Item i lies on shard i. Every write adds 1 to its item, as it was read under the lock; an item
 * that is 0 is absent. Transaction t decides on shard t - 1 and has a part on every shard. With
 * CHECK, the second transaction only checks the item of the first one's deciding shard, and with
 * OWN_CHECK the one of its own. Whoever stands still at a step for as long as it likes is a process
 * that is frozen, or whose message is late. `lost` answers: the step is done or not, and its sender
 * does not know. With DELETES, the second transaction deletes its items, and the plain writer may.
 * With RESTORE, the deciding shard of the only transaction goes back once to what it was at some
 * moment; then a transaction whose decision is there in the end must be whole.
 */

#ifndef SHARDS
#define SHARDS 2
#endif
#ifndef WRITES
#define WRITES 1     /* of the plain writer */
#endif
#ifndef RESOLVERS
#define RESOLVERS 1
#endif
#ifndef RAISES
#define RAISES 0     /* of each generation; with 0 nothing is cleaned up */
#endif
#ifndef TRANSACTIONS
#define TRANSACTIONS 2
#endif

#define NOTHING 0
#define PLACEHOLDER 1
#define ITEM 2

#define UNDECIDED 0
#define COMMITTED 1
#define ABORTED 2

#define DECIDER(t) (t - 1)
#ifdef DELETES
#define RESULT(t, i) (t == 2 -> 0 : value[i] + 1)
#else
#define RESULT(t, i) (value[i] + 1)
#endif
#define ELSEWHERE(t) (2 - t)  /* a shard that is not its deciding one */
#if defined(CHECK)
#define CHECKS(t, i) (t == 2 && i == 0)
#elif defined(OWN_CHECK)
#define CHECKS(t, i) (t == 2 && i == 1)
#else
#define CHECKS(t, i) false
#endif

byte row[SHARDS];        /* of the main table */
byte value[SHARDS];
byte intent[SHARDS];     /* which transaction's is on the item; 0: none */
byte decision[3];        /* on the transaction's deciding shard; 0: no row */
byte generation[3];      /* of the transaction's deciding shard */
byte mine[3];            /* generation that the transaction began in */
byte image[6];           /* by transaction and item: what shall be */

/* What happened, for the assertions alone. */
byte events[6];          /* by transaction and item: rows of the outbox */
byte due[SHARDS];        /* the item, by what was decided and written so far */
bool decided[3];
bool ended[3];
#define EVENT(t, i) events[(t - 1) * SHARDS + i]

/* Rows that go with an intent that is not applied, or was a check. */
inline let_go(i) {
    intent[i] = 0;
    if
    :: row[i] == PLACEHOLDER -> row[i] = NOTHING
    :: else
    fi
}

/* T5, one local transaction: row, event, and the intent. Nothing if the intent is gone. */
inline apply(t, i) {
    atomic {
        if
        :: intent[i] == t && CHECKS(t, i) -> let_go(i)
        :: intent[i] == t && !CHECKS(t, i) ->
            value[i] = image[(t - 1) * SHARDS + i]; EVENT(t, i)++;
            row[i] = (value[i] == 0 -> NOTHING : ITEM);
#ifndef KEPT
            intent[i] = 0
#endif
        :: else
        fi
    }
#ifdef KEPT
    atomic {
        if
        :: intent[i] == t -> intent[i] = 0
        :: else
        fi
    }
#endif
}
/* T6. */
inline release(t, i) {
    atomic {
        if
        :: intent[i] == t -> let_go(i)
        :: else
        fi
    }
}

/* A write reads all that was decided before. */
#ifdef RESTORE
#define IS_READ(i) skip
#else
#define IS_READ(i) assert(value[i] == due[i])
#endif
#define FITS(i) (i == DECIDER(t) || \
    (intent[i] == t && value[i] == due[i] && RESULT(t, i) == image[(t - 1) * SHARDS + i]))
#ifdef NO_GENERATION
#define IN_TIME true
#else
#define IN_TIME (mine[t] == generation[t])
#endif
#ifdef NO_UNIQUE
#define MAY_DECIDE IN_TIME
#else
#define MAY_DECIDE (IN_TIME && decision[t] == UNDECIDED)
#endif

#define IS_DUE(j) due[j] = (j == DECIDER(t) -> value[j] : \
    (CHECKS(t, j) -> due[j] : image[(t - 1) * SHARDS + j]))

inline decide_it() {
    decision[t] = COMMITTED; decided[t] = true;
    /* At this moment, all that the transaction has read is as it was read. */
#if !defined(EARLY) && !defined(RESTORE)
    assert(FITS(0) && FITS(1));
#if SHARDS > 2
    assert(FITS(2));
#endif
#endif
    if
    :: CHECKS(t, i)
    :: else ->
        value[i] = RESULT(t, i); EVENT(t, i)++;
        row[i] = (value[i] == 0 -> NOTHING : ITEM)
    fi;
    IS_DUE(0); IS_DUE(1);
#if SHARDS > 2
    IS_DUE(2)
#endif
}

/* Whoever begins to read from now on sees all of it. */
inline answer() {
    skip;
#ifndef RESTORE
    for (i : 0 .. SHARDS - 1) { assert(CHECKS(t, i) || EVENT(t, i) == 1) }
#endif
}

inline apply_all() {
    for (i : 0 .. SHARDS - 1) { apply(t, i) }
}

proctype Coordinator(byte t) {
    byte i, left;
    bool aborting;
    /* T2. The generation, with the look for the request's token. */
    atomic { mine[t] = generation[t]; left = ((1 << SHARDS) - 1) & ~(1 << DECIDER(t)) };
    /* T3. Prepare, in any order, but for the deciding shard. */
    do
    :: atomic { left != 0 ->
        if
        :: (left & 1) -> i = 0
        :: (left & 2) -> i = 1
#if SHARDS > 2
        :: (left & 4) -> i = 2
#endif
        fi };
prepare:
        if
        :: goto dead
        :: goto give_up  /* a condition does not hold, or it has met an intent for too long */
        :: atomic { intent[i] == t -> left = left & ~(1 << i) }  /* its answer was lost */
        :: atomic { row[i] == ITEM && intent[i] == 0 ->
            intent[i] = t; image[(t - 1) * SHARDS + i] = RESULT(t, i);
            if
            :: left = left & ~(1 << i)
            :: true  /* the answer is lost */
            fi }
        :: row[i] == NOTHING && intent[i] == 0 ->  /* read without a lock: there is no row */
            atomic {
                if
#ifdef NO_PLACEHOLDER
                :: intent[i] == 0 ->
#else
                :: row[i] == NOTHING ->
                    row[i] = PLACEHOLDER;
#endif
                    intent[i] = t; image[(t - 1) * SHARDS + i] = RESULT(t, i);
                    left = left & ~(1 << i)
                :: else  /* the key is there: start over */
                fi }
        fi
    :: atomic { left == 0 -> i = DECIDER(t); break }
    od;
#ifdef EARLY
    apply_all();
    i = DECIDER(t);
#endif
    /* T4. Decide, in the transaction that writes the shard's own items. */
decide:
    if
    :: goto dead
    :: goto give_up
    :: goto unknown  /* it is not done, and the coordinator does not know */
    :: row[i] == NOTHING ->
        atomic {
            if
            :: MAY_DECIDE && (row[i] == NOTHING
#ifdef NO_OWN
                || CHECKS(t, i)
#endif
                ) ->
#ifndef RESTORE
                assert(due[i] == 0);
#endif
                decide_it();
                if
                :: goto applying
                :: goto unknown
                fi
            :: !MAY_DECIDE -> goto give_up
            :: else -> goto decide
            fi }
    :: atomic { row[i] == ITEM && intent[i] == 0 ->
            if
            :: MAY_DECIDE ->
                IS_READ(i);
                decide_it();
                if
                :: goto applying
                :: goto unknown
                fi
            :: else -> goto give_up
            fi }
    fi;
unknown:
    /* The row of the decision says what became of it; without one the transaction is aborted. */
#ifndef LOOSE
    if
    :: goto dead
    :: atomic { decision[t] == COMMITTED -> goto applying }
    :: atomic { decision[t] == ABORTED }
    :: atomic { decision[t] == UNDECIDED && mine[t] == generation[t] -> decision[t] = ABORTED }
    :: atomic { decision[t] == UNDECIDED && mine[t] != generation[t] -> goto dead }  /* it says so */
    fi;
#endif
give_up:
    /* T6. It has not decided and will not, so it needs no row of a decision. */
    aborting = true;
#ifndef RESTORE
    assert(!decided[t]);  /* it is answered that nothing happened */
#endif
applying:
    /* T5. */
    skip;
#ifdef SOON
    if
    :: !aborting -> answer()
    :: else
    fi;
#endif
    for (i : 0 .. SHARDS - 1) {
        if
        :: goto dead
        :: aborting -> release(t, i)
        :: !aborting -> apply(t, i)
        fi
    }
    /* A T3 that it does not wait for any longer may still place its intent. */
#ifdef ONE_PACKET
#define LATE true
#else
#define LATE (aborting && left != 0)
#endif
    if
    :: atomic { LATE && row[ELSEWHERE(t)] == ITEM && intent[ELSEWHERE(t)] == 0 ->
        intent[ELSEWHERE(t)] = t; image[(t - 1) * SHARDS + ELSEWHERE(t)] = RESULT(t, ELSEWHERE(t)) }
    :: true
    fi;
#ifndef SOON
    if
    :: !aborting -> answer()
    :: else
    fi;
#endif
dead:
    atomic { ended[t] = true; i = 0; left = 0; aborting = false }
}

/* Who meets an intent: at any time, on any shard. */
#ifndef NO_RESOLVER
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
        t = intent[i] }
        atomic {
#ifndef NO_ABORTED
            if
#ifdef ANY_GENERATION
            :: decision[t] == UNDECIDED -> decision[t] = ABORTED
#else
            :: decision[t] == UNDECIDED && mine[t] == generation[t] -> decision[t] = ABORTED
#endif
            :: else
            fi;
#endif
            committed = (decision[t] == COMMITTED) }
        if
        :: committed -> apply(t, i)
        :: else -> release(t, i)
        fi;
        atomic { i = 0; t = 0; committed = false }
    od
}
#endif

inline add(i) {
    IS_READ(i); value[i]++; due[i] = value[i]
}

/* PutItem, UpdateItem, DeleteItem. */
#if WRITES > 0
proctype Writer() {
    byte i, n;
    do
    :: n < WRITES ->
        n++;
        if
        :: i = 0
        :: i = 1
#if SHARDS > 2
        :: i = 2
#endif
        fi;
again:
        if
#ifdef IGNORED
        :: atomic { row[i] == ITEM -> add(i) }
#else
        :: atomic { row[i] == ITEM && intent[i] == 0 -> add(i) }
#endif
#ifdef DELETES
        :: atomic { row[i] == ITEM && intent[i] == 0 ->
            IS_READ(i); row[i] = NOTHING; value[i] = 0; due[i] = 0 }
#endif
        :: row[i] == NOTHING ->
            atomic {
                if
                :: row[i] == NOTHING -> row[i] = ITEM; add(i)
                :: else -> goto again
                fi }
        :: goto stop
        fi
    :: n == WRITES -> break
    od;
stop:
    atomic { i = 0; n = 0 }
}
#endif

/* T7. */
#if RAISES > 0
proctype Cleaner() {
    byte t, i, raised;
    bool found;
end:
    do
    :: atomic { raised < 2 * RAISES ->
        if
        :: generation[1] < RAISES -> generation[1]++
        :: generation[2] < RAISES -> generation[2]++
        fi;
        raised++ }
    :: atomic {
        if
        :: decision[1] != UNDECIDED && mine[1] < generation[1] -> t = 1
        :: decision[2] != UNDECIDED && mine[2] < generation[2] -> t = 2
        fi };
        if
        :: atomic { decision[t] == ABORTED -> decision[t] = UNDECIDED }
        :: decision[t] == COMMITTED ->
            found = false;
#ifndef EARLY_CLEAN
            i = 0;
            do
            :: i < SHARDS -> found = found || intent[i] == t; i++
            :: else -> break
            od;
#endif
            atomic {
                if
                :: !found && decision[t] == COMMITTED -> decision[t] = UNDECIDED
                :: else
                fi };
            if
            :: found -> (intent[0] != t && intent[1] != t
#if SHARDS > 2
                && intent[2] != t
#endif
                )
            :: else
            fi
        fi;
        atomic { t = 0; i = 0; found = false }
    od
}
#endif

#define CLEAR(i) (intent[i] == 0 && row[i] != PLACEHOLDER)

#ifdef RESTORE
proctype Disaster() {
    byte old_row, old_value, old_decision;
    atomic { old_row = row[0]; old_value = value[0]; old_decision = decision[1] }
    atomic {
        row[0] = old_row; value[0] = old_value; decision[1] = old_decision;
#ifndef NO_JUMP
        generation[1]++
#endif
    }
}
#define WHOLE(t, i) (i == 0 || \
    (EVENT(t, i) <= decided[t] && (decision[t] != COMMITTED || EVENT(t, i) == 1)))
#define RIGHT(i) WHOLE(1, i)
#else
#define WHOLE(t, i) (CHECKS(t, i) || EVENT(t, i) == (decided[t] -> 1 : 0))
#define RIGHT(i) (WHOLE(1, i) && WHOLE(2, i) && \
    value[i] == due[i] && (row[i] == ITEM) == (value[i] > 0))
#endif

proctype Judge() {
    atomic { timeout ->
        assert(ended[1] && ended[2]);
        assert(CLEAR(0) && CLEAR(1));
        assert(RIGHT(0) && RIGHT(1));
#if SHARDS > 2
        assert(CLEAR(2) && RIGHT(2));
#endif
#ifdef REACHED
        assert(!decided[1] || (!decided[2] && TRANSACTIONS > 1));
#endif
    }
}

init {
    byte i;
    atomic {
        for (i : 0 .. SHARDS - 1) {
            if
            :: row[i] = ITEM; value[i] = 1; due[i] = 1
            :: true
            fi
        }
        i = 0;
        run Judge();
#if WRITES > 0
        run Writer();
#endif
#ifdef RESTORE
        run Disaster();
#endif
#if RAISES > 0
        run Cleaner();
#endif
#ifndef NO_RESOLVER
        run Resolver();
#if RESOLVERS > 1
        run Resolver();
#endif
#endif
        run Coordinator(1);
#if TRANSACTIONS > 1
        run Coordinator(2)
#else
        ended[2] = true
#endif
    }
}
