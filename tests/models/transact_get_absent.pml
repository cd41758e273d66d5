/* TransactGetItems of items that do not exist: an insert and a delete between the two looks.
 *
 * The steps G1 and G3 are those of docs/design/transactions.md. Checked exhaustively by
 * tests/unit/test_transaction_model.py:
 *
 *     spin -a transact_get_absent.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan -E
 *
 * Each of these takes a mechanism out, and must be found wrong:
 *     -DNO_DELETES    step G3 does not look for deletes
 *     -DOUTBOX_FIRST  step G3 looks for deletes before it reads the rows again
 *     -DID_LATER      step G1 reads the outbox's highest id after the rows
 *     -DREACHED       nothing is taken out; asserts that nobody sees an absent item
 *
 * Two items on two shards, of which one is there at every moment: a writer inserts the one before it
 * deletes the other. Another writer of each shard takes an id of the outbox and commits it at any
 * time, so that ids do not commit in order. A reader must not see both items absent.
 */

#ifndef MOVES
#define MOVES 3
#endif

bool there[2];
byte next_id[2] = 1;   /* of the outbox's AUTO_INCREMENT */
byte highest[2];       /* visible id */
byte last_delete[2];   /* id of the item's last visible delete */

inline commit(s, id) {
    if
    :: id > highest[s] -> highest[s] = id
    :: else
    fi
}

#define TAKE(s, i) i = next_id[s]; next_id[s]++

active proctype Mover() {
    byte n, to, id, gone;
    atomic { there[0] = true; to = 1 }
    do
    :: n < MOVES ->
        /* The delete has locked its row, and its event gets an id before the insert or after it. */
        if
        :: atomic { TAKE(1 - to, gone) }
        :: true
        fi;
        atomic { TAKE(to, id) };
        atomic { there[to] = true; commit(to, id); to = 1 - to };
        if
        :: atomic { gone == 0 -> TAKE(to, gone) }
        :: gone != 0
        fi;
        atomic { there[to] = false; last_delete[to] = gone; commit(to, gone); gone = 0; n++ }
    :: n == MOVES -> break
    od
}

active [2] proctype Other() {
    byte id, s;
    atomic { s = _pid & 1; id = next_id[s]; next_id[s]++ };
    commit(s, id)
}

inline deletes() {
#ifdef NO_DELETES
    skip
#else
    atomic { again = again || (!found[s] && last_delete[s] > from[s]) }
#endif
}

/* Each statement is a step of its own. */
active proctype Reader() {
    byte s, n;
    byte from[2];
    bool found[2], again;
    there[0] || there[1];
    do
    :: true ->
        again = false;
        /* G1. */
        s = 0;
        do
        :: s < 2 ->
#ifndef ID_LATER
            from[s] = highest[s];
#endif
            found[s] = there[s];
#ifdef ID_LATER
            from[s] = highest[s];
#endif
            s++
        :: s == 2 -> break
        od;
        /* G3, side by side. */
        n = 0;
        if
        :: s = 0
        :: s = 1
        fi;
        do
        :: n < 2 ->
#ifdef OUTBOX_FIRST
            deletes();
#endif
            atomic { again = again || there[s] != found[s] };
#ifndef OUTBOX_FIRST
            deletes();
#endif
            atomic { n++; s = 1 - s }
        :: n == 2 -> break
        od;
        if
        :: !again -> break
        :: again
        fi
    od;
#ifdef REACHED
    assert(found[0] && found[1])
#else
    assert(found[0] || found[1])
#endif
}
