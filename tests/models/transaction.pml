/* Transactions across shards: two transactions, a plain writer, resolvers and the clean-up.
 *
 * The steps T1 to T7 are those of docs/design/transactions.md. Checked exhaustively by
 * tests/unit/test_transaction_model.py:
 *
 *     spin -a transaction.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan -E
 *
 * Each of these takes a mechanism out, and must be found wrong:
 *     -DNO_UNIQUE       T4 writes COMMITTED over ABORTED
 *     -DREPEATED        T3 is done again when its answer is lost
 *     -DIGNORED         plain writers do not look at intents
 *     -DKEPT            T5 deletes the intent in a transaction of its own, behind the row's
 *     -DNO_PLACEHOLDER  T3 leaves an intent on an absent item without a row in the table
 *     -DNO_OWN          T4 decides a check of an absent item of its own without a row
 *     -DEARLY           the coordinator applies before it decides
 *     -DNO_ABORTED      a resolver takes an undecided intent away without inserting ABORTED
 *     -DNO_GENERATION   T4 does not compare the generation
 *     -DNEWER           T4 compares a generation that was read after T3
 *     -DANY_GENERATION  T6 inserts ABORTED without comparing the generation
 *     -DYOUNG           T7 deletes decisions one generation too early
 *     -DEARLY_CLEAN     T7 deletes COMMITTED without looking for intents
 *     -DLOOSE           a coordinator that lost the answer to T4 believes that it failed
 *     -DNO_RESOLVER     nobody resolves what is left
 *     -DSOON            the coordinator answers when it has decided
 *     -DREACHED         nothing is taken out; asserts that both transactions never commit
 * With RESTORE:
 *     -DNO_JUMP         the new incarnation has the generation of the backup
 *     -DSMALL_JUMP      and UNNOTICED: it has two more, though the shard had given higher ones
 *     -DNO_LOWER        and UNNOTICED: T4 and T6 do not mind a generation below the transaction's
 *     -DIMPATIENT       and UNNOTICED: T6 takes a generation below the transaction's for over
 *     -DDECISION_FIRST  and UNNOTICED: T6 reads the decision before the generation
 *
 * Item i lies on shard i. Every write adds 1 to its item, as it was read under the lock; an item
 * that is 0 is absent. Transaction t decides on shard t - 1 and has a part on every shard. With
 * CHECK, the second transaction only checks the item of the first one's deciding shard, and with
 * OWN_CHECK the one of its own. With DELETES, the second transaction deletes its items, and the
 * plain writer may. With RETRY, the second one is another attempt of the first one's request, once
 * that one has given up.
 *
 * Whoever stands still at a step for as long as it likes is a process that is frozen. The second
 * packets of T3 and T4 may arrive late (`pending`): their sender does not know, has given up or is
 * dead. That the first packet's locks are held until then is the same as if it came late, too.
 *
 * With RESTORE, the deciding shard of the only transaction goes back once to what it was at some
 * moment; then a transaction whose decision is there in the end must be whole. Its new incarnation
 * begins with that; or, with UNNOTICED, later: the server is the same. Then its generation has been
 * raised since the backup and before the transaction, and the backup may be the wrong one: the
 * shard comes back as it was before.
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

#ifdef RETRY
#define DECIDER(t) 0
#else
#define DECIDER(t) (t - 1)
#endif
#ifdef DELETES
#define RESULT(t, i) (t == 2 -> 0 : value[i] + 1)
#else
#define RESULT(t, i) (value[i] + 1)
#endif
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
byte mine[3];            /* generation that the transaction began in; in its intents, too */
byte image[6];           /* by transaction and item: what shall be */
byte pending[3];         /* a second packet of the transaction is under way to this shard; + 1 */

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

/* T3's second packet. */
inline place(t, i) {
    intent[i] = t; image[(t - 1) * SHARDS + i] = RESULT(t, i)
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

/* Its generation is the shard's, or the one before. */
#define IS_OVER(t) (generation[t] > mine[t] + 1)
#ifdef NO_LOWER
#define IS_LOWER(t) false
#else
#define IS_LOWER(t) (generation[t] < mine[t])
#endif
#define IN_TIME(t) (!IS_OVER(t) && !IS_LOWER(t))
#if defined(NO_GENERATION)
#define MAY_COMMIT(t) true
#elif defined(NEWER)
#define MAY_COMMIT(t) (compared == generation[t] || compared + 1 == generation[t])
#else
#define MAY_COMMIT(t) IN_TIME(t)
#endif
#ifdef NO_UNIQUE
#define MAY_DECIDE(t) MAY_COMMIT(t)
#else
#define MAY_DECIDE(t) (MAY_COMMIT(t) && decision[t] == UNDECIDED)
#endif
#ifdef ANY_GENERATION
#define MAY_ABORT(t) (decision[t] == UNDECIDED)
#else
#define MAY_ABORT(t) (decision[t] == UNDECIDED && IN_TIME(t))
#endif
#if RAISES > 0 || defined(RESTORE)
#define GENERATIONS
#endif

#define IS_DUE(j) due[j] = (j == DECIDER(t) -> value[j] : \
    (CHECKS(t, j) -> due[j] : image[(t - 1) * SHARDS + j]))

inline decide_it(t, i) {
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

/* T6: insert ABORTED; read the generation; read the decision: in this order, each by itself. */
inline ask(t) {
#ifndef NO_ABORTED
    atomic {
        if
        :: MAY_ABORT(t) -> decision[t] = ABORTED
        :: else
        fi };
#endif
#ifdef DECISION_FIRST
    found = decision[t];
#endif
#ifdef GENERATIONS
    now = generation[t];
#endif
#ifndef DECISION_FIRST
    found = decision[t]
#endif
}
#ifdef IMPATIENT
#define SEEN_OVER(t) (now > mine[t] + 1 || now < mine[t])
#else
#define SEEN_OVER(t) (now > mine[t] + 1)
#endif

proctype Coordinator(byte t) {
    byte i, left, found;
    bool aborting;
#ifdef GENERATIONS
    byte now;
#endif
#ifdef NEWER
    byte compared;
#endif
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
        /* A condition does not hold elsewhere, or it has met an intent for too long. Or the answer
           is lost: it is not done again. The packet may still arrive. */
        :: goto give_up
        :: atomic { pending[t] = i + 1; goto give_up }
        :: goto dead
        :: atomic { pending[t] = i + 1; goto dead }
#ifdef REPEATED
        :: atomic { pending[t] == 0 -> pending[t] = i + 1 }
        :: atomic { intent[i] == t -> left = left & ~(1 << i) }
#endif
        :: atomic { row[i] == ITEM && intent[i] == 0 -> place(t, i); left = left & ~(1 << i) }
        :: row[i] == NOTHING && intent[i] == 0 ->  /* read without a lock: there is no row */
            atomic {
                if
#ifdef NO_PLACEHOLDER
                :: intent[i] == 0 ->
#else
                :: row[i] == NOTHING ->
                    row[i] = PLACEHOLDER;
#endif
                    place(t, i); left = left & ~(1 << i)
                :: else  /* the key is there: start over */
                fi }
        fi
    :: atomic { left == 0 -> i = DECIDER(t); break }
    od;
#ifdef EARLY
    apply_all();
    i = DECIDER(t);
#endif
#ifdef NEWER
    compared = generation[t];
#endif
    /* T4. Decide, in the transaction that writes the shard's own items. */
decide:
    if
    :: goto dead
    :: goto give_up
    :: atomic { pending[t] = i + 1; goto dead }
    :: atomic { pending[t] = i + 1; goto unknown }  /* not done yet, if ever; it does not know */
    :: row[i] == NOTHING ->
        atomic {
            if
            :: MAY_DECIDE(t) && (row[i] == NOTHING
#ifdef NO_OWN
                || CHECKS(t, i)
#endif
                ) ->
#ifndef RESTORE
                assert(due[i] == 0);
#endif
                decide_it(t, i);
                if
                :: goto applying
                :: goto unknown
                fi
            :: !MAY_DECIDE(t) -> goto give_up
            :: else -> goto decide
            fi }
    :: atomic { row[i] == ITEM && intent[i] == 0 ->
            if
            :: MAY_DECIDE(t) ->
                IS_READ(i);
                decide_it(t, i);
                if
                :: goto applying
                :: goto unknown
                fi
            :: else -> goto give_up
            fi }
    fi;
unknown:
    /* The row of the decision says what became of it. */
#ifndef LOOSE
    if
    :: goto dead
    :: true
    fi;
    ask(t);
    if
    :: atomic { found == COMMITTED -> goto applying }
    :: atomic { found == ABORTED }
#ifdef GENERATIONS
    :: atomic { found == UNDECIDED && !SEEN_OVER(t) -> goto unknown }
    :: atomic { found == UNDECIDED && SEEN_OVER(t) -> goto dead }  /* it says so */
#endif
    fi;
#endif
give_up:
    /* T6. It has not decided and will not, so it needs no row of a decision. */
    aborting = true;
#if !defined(RESTORE)
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
#ifndef SOON
    if
    :: !aborting -> answer()
    :: else
    fi;
#endif
#ifdef RETRY
    if
    :: atomic { aborting && t == 1 -> run Coordinator(2) }
    :: atomic { !aborting && t == 1 -> ended[2] = true }
    :: t == 2
    fi;
    goto over;
#endif
dead:
    skip;
#ifdef RETRY
    if
    :: t == 1 -> ended[2] = true
    :: else
    fi;
over:
#endif
    atomic { ended[t] = true; i = 0; left = 0; aborting = false; found = 0 }
}

/* Second packets that nobody waits for any longer: they do their work at any time, or never do. */
proctype Network() {
    byte t, i;
#ifdef NEWER
    byte compared = 255;
#endif
end:
    do
    :: atomic {
        if
        :: pending[1] != 0 -> t = 1
        :: pending[2] != 0 -> t = 2
        fi;
        i = pending[t] - 1;
        pending[t] = 0;
        if
        :: true
        :: i != DECIDER(t) && row[i] == ITEM && intent[i] == 0 -> place(t, i)
        :: i != DECIDER(t) && row[i] == NOTHING && intent[i] == 0 ->
#ifndef NO_PLACEHOLDER
            row[i] = PLACEHOLDER;
#endif
            place(t, i)
        :: i == DECIDER(t) && intent[i] == 0 && row[i] != PLACEHOLDER && MAY_DECIDE(t) ->
            IS_READ(i); decide_it(t, i)
        fi;
        t = 0; i = 0 }
    od
}

/* Who meets an intent: at any time, on any shard. */
#ifndef NO_RESOLVER
proctype Resolver() {
    byte i, t, found;
#ifdef GENERATIONS
    byte now;
#endif
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
        ask(t);
        if
        :: found == COMMITTED -> apply(t, i)
        :: found == ABORTED -> release(t, i)
#ifdef NO_ABORTED
        :: found == UNDECIDED -> release(t, i)
#endif
#ifdef GENERATIONS
        :: found == UNDECIDED && SEEN_OVER(t) -> release(t, i)
        :: found == UNDECIDED && !SEEN_OVER(t) && now < mine[t] ->
            !IS_LOWER(t)  /* the shard went back; wait until that is noticed */
        :: found == UNDECIDED && !SEEN_OVER(t) && now >= mine[t]  /* ask again */
#endif
        fi;
        atomic {
            i = 0; t = 0; found = 0
#ifdef GENERATIONS
            ; now = 0
#endif
        }
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

/* T7. Decisions go in time; what fences tokens is in transact_token.pml. */
#ifdef YOUNG
#define MAY_GO(t) (decision[t] != UNDECIDED && generation[t] > mine[t])
#else
#define MAY_GO(t) (decision[t] != UNDECIDED && IS_OVER(t))
#endif
#if RAISES > 0
proctype Cleaner() {
    byte t, i;
    bool found;
end:
    do
    :: atomic { generation[1] < RAISES -> generation[1]++ }
#if TRANSACTIONS > 1
    :: atomic { generation[2] < RAISES -> generation[2]++ }
#endif
    :: atomic {
        if
        :: MAY_GO(1) -> t = 1
        :: MAY_GO(2) -> t = 2
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
#define BASE 9  /* of the new incarnation: above all generations of the ones before */
inline begin_incarnation() {
#if defined(NO_JUMP)
    skip
#elif defined(SMALL_JUMP)
    generation[1] = generation[1] + 2
#else
    generation[1] = BASE
#endif
}
proctype Disaster() {
    byte old_row, old_value, old_decision, old_generation;
#ifdef UNNOTICED
    byte new_row, new_value, new_decision, new_generation;
#endif
    atomic {
        old_row = row[0]; old_value = value[0];
        old_decision = decision[1]; old_generation = generation[1] };
#ifdef UNNOTICED
    atomic { mine[1] == 0 && intent[1] == 0 -> generation[1]++ };
    atomic { mine[1] == generation[1] ->
        new_row = row[0]; new_value = value[0];
        new_decision = decision[1]; new_generation = generation[1];
        row[0] = old_row; value[0] = old_value;
        decision[1] = old_decision; generation[1] = old_generation };
    if
    :: true
    :: atomic { true ->
        row[0] = new_row; value[0] = new_value;
        decision[1] = new_decision; generation[1] = new_generation;
        begin_incarnation(); goto over }
    fi;
    atomic { begin_incarnation() }
over:
    skip
#else
    atomic {
        row[0] = old_row; value[0] = old_value;
        decision[1] = old_decision; generation[1] = old_generation;
        begin_incarnation() }
#endif
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
        run Network();
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
#if TRANSACTIONS > 1 && !defined(RETRY)
        run Coordinator(2)
#elif TRANSACTIONS == 1
        ended[2] = true
#endif
    }
}
