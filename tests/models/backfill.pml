/* Backfilling a GSI beside writes and the indexer: one item of one source shard, two target shards.
 *
 * The steps are those of docs/architecture.md, "Definitions change", and of
 * mynamo/writer/backfill/global_index.py. Checked exhaustively by tests/unit/test_backfill_model.py:
 *
 *     spin -a backfill.pml && gcc -O2 -o pan pan.c && ./pan
 *
 * Each of these takes a mechanism out, and must be found wrong:
 *     -DNO_LOCK     step 3 locks no checkpoint
 *     -DNO_COMPARE  step 4 believes what step 2 read
 *     -DNO_PROOF    step 4 does not find out whether the transaction on the source still lives
 *     -DEARLY       the index becomes ACTIVE as soon as it is filled
 *     -DREACHED     nothing is taken out; asserts that the index never becomes ACTIVE
 *
 * The item is there in version 1 before the index is. Its later versions are written at any time,
 * and their events are applied in order. PLACE says on which target a version's index row lies;
 * the last version is a delete. Any session may be ended by its server at any time, which stands
 * for a frozen process, a lost connection, a process that died, and a server that was killed: an
 * open transaction is gone, and so are its locks. Whoever wakes up late finds it so.
 */

#define LAST 4
#ifndef ENDED
#define ENDED 2 /* sessions that servers end; 3 takes minutes */
#endif
#define NOWHERE 2
#define PLACE(v) (v == 2 -> 1 : (v == LAST -> NOWHERE : 0))
#define SHOULD(k) (PLACE(handled[k]) == k -> handled[k] : 0)
#define RIGHT (row[0] == SHOULD(0) && row[1] == SHOULD(1))

byte version = 1;    /* of the item, committed; its event is in the outbox from then on */
byte handled[2] = 1; /* per target: up to which version events have been applied there */
byte applied = 1;    /* noted on the source shard: every target has them so far */
byte row[2] = 0;     /* per target: the version that the index row there shows; 0: no row */
byte holder[2] = 0;  /* per target: which filler has the stream's checkpoint locked */

byte turn = 0;       /* which filler has the row of mynamo_backfill locked */
bool finished = false;
byte last_outbox = 0;
bool readable = false;

bool source_lives[3]; /* by filler: its transaction on the source shard */
bool target_lives[3]; /* and that on the target */

active proctype Writer() {
    do
    :: version < LAST -> version++
    :: true -> break
    od
}

/* One transaction for each target, and the progress noted behind them. */
active proctype Indexer() {
    do
    :: atomic { applied < version && handled[0] == applied && holder[0] == 0 ->
        handled[0] = applied + 1; row[0] = (PLACE(handled[0]) == 0 -> handled[0] :
            (PLACE(applied) == 0 -> 0 : row[0])) }
    :: atomic { applied < version && handled[1] == applied && holder[1] == 0 ->
        handled[1] = applied + 1; row[1] = (PLACE(handled[1]) == 1 -> handled[1] :
            (PLACE(applied) == 1 -> 0 : row[1])) }
    :: atomic { applied < version && handled[0] > applied && handled[1] > applied -> applied++ }
    od
}

proctype Filler(byte me) {
    byte seen, now, upto, place;
begin:
    /* 1. The turn. */
    atomic {
        turn == 0;
        if
        :: finished -> goto end
        :: else -> turn = me; source_lives[me] = true
        fi
    }
    /* 2. Read. */
    seen = version;
    place = PLACE(seen);
    if
    :: place == NOWHERE -> upto = version; goto note
    :: else
    fi;
    /* 3. The stream's checkpoint on the target. */
#ifdef NO_LOCK
    target_lives[me] = true;
#else
    atomic { holder[place] == 0 -> holder[place] = me; target_lives[me] = true }
#endif
    /* 4. Compare. The outbox's end is read after the versions. */
    now = version;
    upto = version;
#ifndef NO_COMPARE
    if
    :: now != seen -> atomic { if :: holder[place] == me -> holder[place] = 0 :: else fi;
                               target_lives[me] = false }; goto note
    :: else
    fi;
#endif
#ifndef NO_PROOF
    atomic {
        if
        :: source_lives[me]
        :: else -> if :: holder[place] == me -> holder[place] = 0 :: else fi;
            target_lives[me] = false; goto begin
        fi
    }
#endif
    /* 5 and 6. Write, and commit there if the transaction still lives. */
    atomic {
        if
        :: target_lives[me] -> row[place] = seen; target_lives[me] = false;
            if :: holder[place] == me -> holder[place] = 0 :: else fi
        :: else -> if :: turn == me && source_lives[me] -> turn = 0 :: else fi;
            source_lives[me] = false; goto begin
        fi
    }
note:
    /* 7. How far it came, if the transaction on the source still lives. */
    atomic {
        if
        :: source_lives[me] -> finished = true; turn = 0; source_lives[me] = false;
            if :: upto > last_outbox -> last_outbox = upto :: else fi
        :: else -> goto begin
        fi
    }
end:
    skip
}

/* A server ends a session: bounded, so that a filler gets through in the end. */
active proctype Servers() {
    byte times = 0, who = 1;
    do
    :: times < ENDED ->
        who = 1;
        if :: true :: true -> who = 2 fi;
        if
        :: atomic { source_lives[who] -> source_lives[who] = false;
            if :: turn == who -> turn = 0 :: else fi }
        :: atomic { target_lives[who] -> target_lives[who] = false;
            if :: holder[0] == who -> holder[0] = 0 :: else fi;
            if :: holder[1] == who -> holder[1] = 0 :: else fi }
        :: true
        fi;
        times++
    :: times == ENDED -> break
    od
}

active proctype Activator() {
#ifdef EARLY
    atomic { finished -> readable = true }
#else
    atomic { finished && applied >= last_outbox -> readable = true }
#endif
}

/* Once it is ACTIVE, the index shows on each target what the events so far have come to. */
active proctype Monitor() {
#ifdef REACHED
    atomic { readable -> assert(false) }
#else
    atomic { readable && !RIGHT -> assert(false) }
#endif
}

init {
    atomic { run Filler(1); run Filler(2) }
}
