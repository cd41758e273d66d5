/* Moving a slot from one shard to another, beside writes, reads, a queued write, a transaction and
 * the indexer: one item, two shards, movers of which each may stop for ever at any step, or go on
 * late.
 *
 * The steps M1 to M13 are those of docs/design/resharding.md. Checked exhaustively by
 * tests/unit/test_moving_model.py:
 *
 *     spin -a moving.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan -E
 *
 * Each of these takes a mechanism out, and must be found wrong:
 *     -DNO_EPOCH       a write does not compare the epoch with the slot guard
 *     -DNO_READ_EPOCH  a read does not
 *     -DNO_START       M1 and M2 leave the epoch as it is, so writers may not know that they must log
 *     -DNO_WAIT        raising a guard does not wait for the transactions that hold it
 *     -DNO_LOG         nothing is logged
 *     -DLOG_LAST       M5 reads the row before the log
 *     -DNO_FENCE       the row of mynamo_move is not locked before the source is read
 *     -DNO_TERM        that row has the move alone: any mover of the move passes
 *     -DBLIND          M3 deletes in the same message that locks the row, so that it may arrive late
 *     -DNO_STOP        M8 does not raise the guard
 *     -DNO_DRAIN       M8 does not wait for the source's events
 *     -DNO_IDS         M8 does not raise the target's ids
 *     -DNO_CLOSE       M9 does not raise the source's guard
 *     -DANY_MOVER      M9 and M11 do not compare the term
 *     -DREACHED        nothing is taken out; asserts that nobody writes on the target
 * With QUEUE:
 *     -DNO_COMMANDS    the ids of queued writes are not logged
 * With TRANSACTION:
 *     -DNO_INTENTS     M10 does not copy intents
 *     -DOLD_INTENTS    M10 does not take away what an earlier attempt has copied
 * With BACK (a second move, from the target back to the source; MOVES=3: and there again):
 *     -DNO_CLEAN_FENCE  M12 does not lock the row of mynamo_move
 *     -DFORGET          M13 deletes the rows of mynamo_move
 *     -DNO_COMPARE      a mover takes the row whatever is in it
 * With CANCELS (moves that are cancelled) and MOVES=2:
 *     -DNO_TAKE_CANCELLED  whoever cancels does not take the target's row
 * With TOKENS (copied request tokens, and when they begin to age) and MOVES=3:
 *     -DNO_TOKEN_FENCE  M12 lets them age without a lock on the target's row
 *
 * With NO_TAKE_DONE and without TOKENS, M12 does not take the target's row. That is not found wrong:
 * whoever has done M11 has that row, and is the only one who could still write there.
 *
 * Nobody looks at the catalog in the transaction in which a shard's row is taken: the shard compares
 * only the (move, term) that a mover brings with what was brought before.
 *
 * A version is an id of the outbox of the shard on which the item was written. Events are applied
 * in the order of their shard, and those of two shards in any order. "Gone" stands for an item that
 * was deleted; row and index have 0 then. The last write of a writer is a deletion.
 */

#ifndef WRITES
#define WRITES 2  /* of each writer */
#endif
#ifndef WRITERS
#define WRITERS 1
#endif
#ifndef MOVERS
#define MOVERS 2
#endif
#ifndef BACKS
#define BACKS 1  /* how often a switch is taken back */
#endif
#ifndef ENDED
#define ENDED 1  /* sessions that servers end */
#endif
#ifndef CANCELS
#define CANCELS 0
#endif
#ifndef MOVES
#ifdef BACK
#define MOVES 2
#else
#define MOVES 1
#endif
#endif

#define NONE 0
#define COPYING 1
#define STOPPED 2
#define CLOSED 3
#define DONE 4
#define CANCELLED 5

#define COMMAND 128  /* in the log; lower bits are writes of the item */

/* The catalog. */
byte owner;
byte state;
byte epoch[2] = 1;
byte moves;          /* the newest move's number */
byte term;           /* counts those who took it over */
byte cancels;

/* The shards. */
byte guard[2] = 1;
byte holders[2];     /* transactions that hold the guard shared */
byte row[2];
bool known[2];       /* the id of the queued write */
bool intent[2];
byte ids[2];
byte logged[2];
byte fence[2];       /* the move and the term in the row of mynamo_move */
byte holder[2];      /* who has that row locked */
bool copied[2];      /* progress in that row */
#ifdef TOKENS
bool ageless[2];      /* copied tokens that do not age yet */
#endif
#ifdef BLIND
byte sent;           /* a message of M3 that is on its way */
byte sent_to;
#endif
byte waiting[2];     /* events that are not applied, by version */

/* The index, on a third shard. */
byte indexed;        /* the index row */
byte seen;           /* the newest version that was applied */

/* For the assertions alone. */
byte current;        /* the item as it was committed last */
byte newest;         /* its version */
byte deleted;        /* versions that are deletions */
byte writes;
byte working;        /* processes that have something to do yet */
bool happened;

#ifdef NO_EPOCH
#define MAY_WRITE(s, e) true
#else
#define MAY_WRITE(s, e) (guard[s] <= e)
#endif
#ifdef NO_READ_EPOCH
#define MAY_READ(s, e) true
#else
#define MAY_READ(s, e) (guard[s] <= e)
#endif
#ifdef NO_WAIT
#define IS_FREE(s) true
#else
#define IS_FREE(s) (holders[s] == 0)
#endif
#define WRITABLE(phase) (phase != STOPPED && phase != CLOSED)

inline load() {
    atomic { at = owner; phase = state; known_epoch = epoch[owner] }
}

/* In one transaction, behind the locks. */
inline write(s, gone) {
    assert(row[s] == current);
    assert(ids[s] > newest);
    newest = ids[s];
    ids[s]++;
    row[s] = (gone -> 0 : newest);
    deleted = (gone -> deleted | (1 << newest) : deleted);
    current = row[s];
    waiting[s] = waiting[s] | (1 << newest);
    writes++;
#ifndef NO_LOG
    logged[s] = (phase == COPYING -> logged[s] | (1 << writes) : logged[s]);
#endif
#ifdef REACHED
    assert(s == 0)
#endif
}

proctype Writer() {
    byte at, phase, known_epoch, left;
    left = WRITES;
    load();
    do
    :: load()
    :: atomic { left > 0 && WRITABLE(phase) && MAY_WRITE(at, known_epoch) && holders[at] == 0 &&
                !intent[at] ->
            holders[at]++ };  /* and the item's row, which only one transaction has */
        atomic { write(at, (left == 1)); left--; holders[at]-- }
    :: atomic { left == 0 -> working--; at = 0; phase = 0; known_epoch = 0; break }
    od
}

/* A queued write, which arrives twice. */
proctype Queue() {
    byte at, phase, known_epoch, left;
    left = 2;
    load();
    do
    :: load()
    :: atomic { left > 0 && WRITABLE(phase) && MAY_WRITE(at, known_epoch) && holders[at] == 0 ->
            holders[at]++ };
        atomic {
            if
            :: known[at]
            :: else ->
                assert(!happened);
                happened = true;
                known[at] = true;
#ifndef NO_COMMANDS
                logged[at] = (phase == COPYING -> logged[at] | COMMAND : logged[at])
#endif
            fi;
            left--; holders[at]-- }
    :: atomic { left == 0 -> working--; at = 0; phase = 0; known_epoch = 0; break }
    od
}

/* A transaction over several shards: an intent on the item (T3), which is applied (T5) or released. */
proctype Transaction() {
    byte at, phase, known_epoch;
    bool prepared;
    load();
    do
    :: load()
    :: atomic { !prepared && WRITABLE(phase) && MAY_WRITE(at, known_epoch) && holders[at] == 0 ->
        assert(!intent[at]);
        intent[at] = true; prepared = true }
    :: atomic { prepared && WRITABLE(phase) && MAY_WRITE(at, known_epoch) && holders[at] == 0 ->
        assert(intent[at]);
        intent[at] = false;
        if
        :: true  /* release */
        :: write(at, false)
        fi;
        working--; at = 0; phase = 0; known_epoch = 0; prepared = false; break }
    od
}

proctype Reader() {
    byte at, phase, known_epoch;
    load();
    do
    :: load()
    :: atomic { phase != CLOSED && MAY_READ(at, known_epoch) && row[at] != current ->
        assert(false) }
    od
}

/* Any number of indexers: the next event of a shard, in one transaction. */
proctype Indexer() {
    byte s, next;
    do
    :: atomic {
        if
        :: waiting[0] -> s = 0
        :: waiting[1] -> s = 1
        fi;
        next = 1;
        do
        :: waiting[s] & (1 << next) -> break
        :: else -> next++
        od;
        assert(next > seen);
        seen = next;
        indexed = (deleted & (1 << next) -> 0 : next);
        waiting[s] = waiting[s] & ~(1 << next);
        s = 0; next = 0 }
    od
}

#define TOKEN (moves * 4 + term)
#ifdef NO_TERM
#define FENCE(t) (t & ~3)
#else
#define FENCE(t) t
#endif

/* Everybody who comes later stops all who came before. */
inline take(s) {
    atomic {
        holder[s] == 0;
        if
#ifndef NO_COMPARE
        :: fence[s] > FENCE(token) -> goto over
#endif
        :: else ->
            copied[s] = copied[s] && fence[s] / 4 == token / 4;
            fence[s] = FENCE(token)
        fi }
}

inline lock(s) {
    atomic {
#ifndef NO_FENCE
        holder[s] == 0;
#endif
        if
        :: fence[s] == FENCE(token) -> holder[s] = me
        :: else -> goto over
        fi }
}

#ifdef NO_FENCE
#define LIVES(s) true
#else
#define LIVES(s) (holder[s] == me)
#endif

/* M4 and M5: one transaction on the target. If its session ends, nothing is done. */
inline pass() {
    lock(1 - src);
#ifdef LOG_LAST
    read = row[src];
    atomic { mask = logged[src]; had = known[src] };
#else
    mask = logged[src];
    atomic { read = row[src]; had = known[src] };
#endif
    atomic {
        if
        :: LIVES(1 - src) ->
            row[1 - src] = (!copied[1 - src] || (mask & ~COMMAND) -> read : row[1 - src]);
            known[1 - src] = (!copied[1 - src] || (mask & COMMAND) -> had : known[1 - src]);
            copied[1 - src] = true;
#ifdef TOKENS
            ageless[1 - src] = true;
#endif
            holder[1 - src] = 0
        :: else -> mask = 0
        fi;
        read = 0; had = false };
    atomic { logged[src] = logged[src] & ~mask; mask = 0 }
}

/* Delete what a shard has of the range, which it does not own. */
inline clear(s) {
    lock(s);
    atomic {
        if
        :: LIVES(s) ->
            row[s] = 0; known[s] = false; intent[s] = false;
#ifdef TOKENS
            ageless[s] = false;
#endif
            holder[s] = 0
        :: else -> goto over
        fi }
}

/* Delete a move's log, which is not locked: nobody reads that of another move. */
inline forget_log() {
    atomic { logged[src] = (moves == token / 4 -> 0 : logged[src]) }
}

inline raise(s) {
    atomic { IS_FREE(s) -> guard[s] = epoch[s] }
}

#define MINE (TOKEN == token)
#ifdef ANY_MOVER
#define SWITCHES true
#else
#define SWITCHES MINE
#endif

proctype Mover(byte me) {
    byte src, token, mask, read;
    bool had;
begin:
    atomic {
        if
        :: state == NONE && moves == MOVES -> goto over
        :: state == NONE && moves < MOVES ->  /* M1 */
            state = COPYING; moves++; term = 1; logged[owner] = 0;
#ifndef NO_START
            epoch[owner]++
#endif
        :: state == COPYING || state == DONE || state == CANCELLED -> term++
        :: state == STOPPED || state == CLOSED -> state = COPYING; term++
        :: (state == COPYING || state == STOPPED || state == CLOSED) && cancels < CANCELS ->
            state = CANCELLED; cancels++; term++
        fi;
        assert(term < 4);
        token = TOKEN;
        src = (state == DONE -> 1 - owner : owner);
        if
        :: state == DONE -> goto clean
        :: state == CANCELLED -> goto cancelled
        :: else
        fi };
    /* M2, M3. */
    raise(src);
    take(1 - src);
    if
    :: !copied[1 - src] ->
#ifdef BLIND
        atomic { sent = token; sent_to = 1 - src };  /* its answer is lost, and it is sent again */
#endif
        clear(1 - src)
    :: else
    fi;
    /* M4. */
    do
    :: !copied[1 - src] -> pass()
    :: else -> break
    od;
again:
    /* M5. */
    do
    :: logged[src] -> pass()
    :: true -> break
    od;
    /* M7. */
    atomic {
        if
        :: state == COPYING && MINE ->
            state = STOPPED; epoch[src]++
        :: else -> goto over
        fi };
    /* M8. */
#ifndef NO_STOP
    raise(src);
#endif
    do
    :: logged[src] -> pass()
    :: atomic { !logged[src] -> break }
    od;
#ifndef NO_DRAIN
    waiting[src] == 0;
#endif
#ifndef NO_IDS
    atomic { ids[1 - src] = (ids[1 - src] < ids[src] -> ids[src] : ids[1 - src]) };
#endif
    /* M9. */
    atomic {
        if
        :: state == STOPPED && SWITCHES -> state = CLOSED; epoch[src]++
        :: state == COPYING && MINE -> goto again
        :: else -> goto over
        fi };
#ifndef NO_CLOSE
    raise(src);
#endif
    /* M10. */
    lock(1 - src);
    had = intent[src];
    atomic {
        if
        :: LIVES(1 - src) ->
#if defined(NO_INTENTS)
            skip;
#elif defined(OLD_INTENTS)
            intent[1 - src] = intent[1 - src] || had;
#else
            intent[1 - src] = had;
#endif
            had = false; holder[1 - src] = 0
        :: else -> goto over
        fi };
    /* M11. */
    atomic {
        if
        :: state == CLOSED && SWITCHES -> state = DONE; owner = 1 - src
        :: state == COPYING && MINE -> goto again
        :: else -> goto over
        fi };
clean:
    /* M12. */
#if !defined(NO_TAKE_DONE) && !defined(NO_TOKEN_FENCE)
    take(1 - src);
#endif
#ifdef TOKENS
#ifndef NO_TOKEN_FENCE
    lock(1 - src);
#endif
    atomic {
        if
#ifdef NO_TOKEN_FENCE
        :: true ->
#else
        :: LIVES(1 - src) -> holder[1 - src] = 0;
#endif
            assert(!ageless[1 - src] || owner == 1 - src);
            ageless[1 - src] = false
        :: else -> goto over
        fi };
#endif
    take(src);
#ifdef NO_CLEAN_FENCE
    atomic { row[src] = 0; known[src] = false; intent[src] = false };
#else
    clear(src);
#endif
    goto end;
cancelled:
#ifdef NO_TAKE_CANCELLED
    atomic { row[1 - src] = 0; known[1 - src] = false; intent[1 - src] = false };
#else
    take(1 - src);
    clear(1 - src);
#endif
end:
    forget_log();
    /* M13. */
    atomic {
        if
        :: (state == DONE || state == CANCELLED) && MINE ->
            state = NONE;
#ifdef FORGET
            fence[0] = 0; fence[1] = 0
#endif
        :: else -> goto over
        fi };
#ifdef BACK
    atomic { src = 0; token = 0 };
    goto begin;
#endif
over:
    atomic { src = 0; token = 0; mask = 0; read = 0; had = false }
#if CANCELS > 0
    atomic { (state == NONE && moves < MOVES) || (state == CANCELLED && term == 2) -> goto begin }
#endif
}

/* Whoever waits, and any server. */
proctype Others() {
    byte backs, ended;
    do
    :: atomic { backs < BACKS && (state == STOPPED || state == CLOSED) -> state = COPYING; backs++ }
    :: atomic { ended < ENDED && holder[0] -> holder[0] = 0; ended++ }
    :: atomic { ended < ENDED && holder[1] -> holder[1] = 0; ended++ }
    od
}

#ifdef BLIND
/* A message that a server reads late. */
proctype Late() {
    do
    :: atomic { sent && holder[sent_to] == 0 && fence[sent_to] == sent -> row[sent_to] = 0; sent = 0 }
    od
}
#endif

proctype Monitor() {
    atomic { working == 0 && waiting[0] == 0 && waiting[1] == 0 ->
        assert(row[owner] == current && indexed == current && !intent[owner]) }
}

init {
    atomic {
        row[0] = 1; current = 1; newest = 1; indexed = 1; seen = 1;
        ids[0] = 2; ids[1] = 1;
        working = WRITERS;
        run Writer();
#if WRITERS > 1
        run Writer();
#endif
#ifdef QUEUE
        working++;
        run Queue();
#endif
#ifdef TRANSACTION
        working++;
        run Transaction();
#endif
        run Reader();
        run Indexer();
        run Mover(1);
#if MOVERS > 1
        run Mover(2);
#endif
#if MOVERS > 2
        run Mover(3);
#endif
#ifdef BLIND
        run Late();
#endif
        run Others();
        run Monitor()
    }
}
