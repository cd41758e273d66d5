/* A batch of writes beside somebody else's transactions on one row.
 *
 * The steps are those of docs/architecture.md, "A write", and of
 * mynamo/writer/transaction/commit.py. Checked exhaustively by tests/unit/test_held_model.py:
 *
 *     spin -a held.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * Each of these takes a mechanism out, and must be found wrong:
 *     -DNO_LOCK         step 1 reads and locks nothing
 *     -DNO_LEAVING      step 1b: whoever writes what somebody else holds stays in the batch
 *     -DNO_COMMITTED    step 1b does not look at what is committed
 *     -DNO_UNCOMMITTED  step 1b does not look at what others are inserting
 *     -DNO_DUPLICATE    step 4 writes over a row that somebody else has inserted
 *     -DREACHED         nothing is taken out; asserts that no write is ever left out of its batch
 *
 * The row is a counter. Each write either adds 1 (it makes the row if there is none) or deletes it
 * (it has no effect if there is none). InnoDB locks a record that is there, be it committed or
 * not, and none that is not there. Any session may be ended by its server while it holds the row:
 * a frozen process, a lost connection, a process that died. Its changes and its lock are gone then,
 * and its process starts again.
 */

#ifndef ENDED
#define ENDED 1 /* sessions that the server ends */
#endif
#define WRITERS 3
#define NOBODY 0

byte committed = 1;  /* the row's value for others; 0: there is no row */
byte latest = 1;     /* its value for whoever holds it */
byte owner = NOBODY; /* who holds its lock */
byte turn = 0;       /* counts transactions that have got the lock */
bool lives[4];       /* by writer: its session has a transaction */
bool absent[4];      /* by writer: there was no row at some moment since it began */
byte ended = 0;

#define HOLD(me) owner = me; turn++
#define LET_GO owner = NOBODY
#define SAW_ABSENT absent[1] = true; absent[2] = true; absent[3] = true

proctype Writer(byte me; bool in_batch) {
    byte seen, looked_at;
    bool locked, there, adds;
begin:
    /* 1. A transaction. */
    atomic { lives[me] = true; absent[me] = (committed == 0); looked_at = 0; locked = false }
#ifdef NO_LOCK
    seen = committed;
    goto evaluate;
#endif
    if
    :: goto lock             /* a batch, too */
    :: in_batch -> goto look /* careful: a wait was long a moment ago, maybe this one's */
    fi;
look:
    /* 1b. What others are inserting; what can be locked; what is committed. */
    atomic {
        looked_at = (owner != NOBODY -> turn : 0);
#ifdef NO_UNCOMMITTED
        there = false
#else
        there = (latest != 0)
#endif
    }
    atomic {
        if
        :: owner == NOBODY && committed != 0 -> HOLD(me); locked = true; seen = committed
        :: else -> seen = 0
        fi
    }
#ifndef NO_COMMITTED
    there = there || committed != 0;
#endif
    if
#ifndef NO_LEAVING
    :: !locked && there -> lives[me] = false;
#ifdef REACHED
        assert(false);
#endif
        goto wait
#endif
    :: else -> goto evaluate
    fi;
wait:
    atomic { lives[me] = true; absent[me] = (committed == 0); looked_at = 0 }
lock:
    /* 1a. Wait for the lock; the server ends a wait that is too long. */
    atomic {
        if
        :: owner == NOBODY && committed != 0 -> HOLD(me); locked = true; seen = committed
        :: owner == NOBODY && committed == 0 -> seen = 0
        :: owner != NOBODY -> lives[me] = false; goto begin
        fi
    }
evaluate:
    /* 3. */
    if
    :: adds = true
    :: adds = false
    fi;
    if
    :: !adds && seen == 0 -> assert(absent[me]); goto end
    :: else
    fi;
    /* 4. */
    if
#ifdef NO_LOCK
    :: true -> goto write
#endif
    :: locked -> goto write
    :: else
    fi;
insert:
    atomic {
        if
        :: !lives[me] -> goto begin
        :: lives[me] && owner != NOBODY ->
            /* It waits for that transaction, and its batch with it. */
            assert(looked_at == 0 || looked_at != turn);
            (owner == NOBODY || !lives[me]); goto insert
#ifdef NO_DUPLICATE
        :: lives[me] && owner == NOBODY -> HOLD(me); latest = 1; goto commit
#else
        :: lives[me] && owner == NOBODY && committed != 0 -> lives[me] = false; goto begin
        :: lives[me] && owner == NOBODY && committed == 0 -> HOLD(me); latest = 1; goto commit
#endif
        fi
    }
write:
    atomic {
        if
        :: !lives[me] -> goto begin
        :: else -> latest = (adds -> seen + 1 : 0)
        fi
    }
commit:
    atomic {
        if
        :: !lives[me] -> goto begin
        :: else ->
            assert(committed == seen); /* or else somebody's change is lost */
            committed = latest;
            if :: committed == 0 -> SAW_ABSENT :: else fi;
            if :: owner == me -> LET_GO :: else fi
        fi
    }
end:
    atomic {
        lives[me] = false;
        if :: owner == me -> LET_GO :: else fi
    }
}

/* The server ends the session of whoever holds the row. */
active proctype Server() {
    do
    :: atomic { ended < ENDED && owner != NOBODY ->
        lives[owner] = false; latest = committed; LET_GO; ended++ }
    :: atomic { ended == ENDED -> break }
    :: true -> break
    od
}

init {
    atomic { run Writer(1, true); run Writer(2, true); run Writer(3, false) }
}
