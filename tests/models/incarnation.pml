/* A shard that goes back in time: one item, one stream of the shard, one target shard.
 *
 * The steps are those of mynamo/catalog/incarnation.py. Checked exhaustively by
 * tests/unit/test_incarnation_model.py:
 *
 *     spin -a incarnation.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * Each of these takes a mechanism out, and must be found wrong:
 *     -DNO_ADOPT     the relay goes on with the numbers of the backup
 *     -DNO_RENUMBER  step A2 leaves unapplied changes with their numbers
 *     -DNO_FENCE     step A4 raises no checkpoint
 *     -DNO_LOST      step A4 does not look for lost changes
 *     -DLATE_NOTE    step A4 notes lost changes after it has raised the checkpoint
 *     -DNO_MEND      step A5 does nothing
 *     -DREACHED      nothing is taken out; asserts that the end is never reached
 *
 * Each write gives the item a new content. The index row shows one content; in the end it must be
 * the item's. A backup is taken at any time, and restored up to RESTORES times. Kafka keeps all
 * events. Indexers may hold an event for as long as they like, and so may whoever fences.
 */

#ifndef RESTORES
#define RESTORES 1
#endif
#ifndef WRITES
#define WRITES 3 /* with RESTORES 2: 2, or it takes hours */
#endif
#define ROWS 4
#define LOG 10
#define BASE(i) ((i) * 8)
#define CLEAN 0
#define FENCING 1
#define MENDING 2

typedef Shard {
    byte content;    /* of the item */
    byte last_seq;
    byte applied;
    byte kept;       /* last_seq when the incarnation began; the least of those not fenced */
    byte number;     /* of the incarnation */
    byte state;
    bool lost;
    byte row[ROWS];  /* the outbox: contents; 0: no row */
    byte seq[ROWS];  /* 0: no number yet */
}

Shard shard, backup;
byte counter;        /* the catalog's */
bool elsewhere;      /* the server is not the one that the shard's incarnation names */
byte epoch;          /* of the relay's lease: raised with each life and incarnation */
byte writes;
byte restores;

byte log_content[LOG];
byte log_seq[LOG];
byte length;

byte checkpoint;     /* on the target */
byte shown;          /* by the index row there */
bool locked;         /* the checkpoint, by whoever fences */

byte at;             /* what indexers have read of the log */
byte busy;           /* indexers that hold an event */

inline copy(to, from) {
    to.content = from.content; to.last_seq = from.last_seq; to.applied = from.applied;
    to.kept = from.kept; to.number = from.number; to.state = from.state; to.lost = from.lost;
    for (i : 0 .. ROWS - 1) { to.row[i] = from.row[i]; to.seq[i] = from.seq[i] }
    i = 0
}

#define EMPTY (shard.row[0] == 0 && shard.row[1] == 0 && shard.row[2] == 0 && shard.row[3] == 0)
#define QUIET (EMPTY && at == length && busy == 0)

active proctype Writer() {
    byte i;
    do
    :: atomic { !elsewhere && writes < WRITES && shard.row[ROWS - 1] == 0 ->
        writes++; shard.content = writes;
        i = 0;
        do
        :: shard.row[i] != 0 -> i++
        :: else -> break
        od;
        shard.row[i] = writes; shard.seq[i] = 0; i = 0 }
    :: writes == WRITES -> break
    od
}

active proctype Disaster() {
    byte i;
    atomic { copy(backup, shard) }
    do
    :: atomic { restores < RESTORES ->
        restores++; epoch++;
        copy(shard, backup);
#ifndef NO_ADOPT
        elsewhere = true
#endif
    }
    :: atomic { copy(backup, shard) }  /* a newer backup */
    :: break
    od
}

/* Numbers one row and publishes it; removes a row that is applied. */
active proctype Relay() {
    byte i;
end:
    do
    :: atomic { !elsewhere && shard.state != FENCING && length < LOG ->
        i = 0;
        do
        :: i < ROWS && shard.row[i] != 0 && shard.seq[i] != 0 -> i++
        :: else -> break
        od;
        if
        :: i < ROWS && shard.row[i] != 0 ->
            shard.last_seq++; shard.seq[i] = shard.last_seq;
            log_content[length] = shard.row[i]; log_seq[length] = shard.last_seq; length++
        :: else
        fi;
        i = 0 }
    :: atomic { !elsewhere && shard.row[0] != 0 && shard.seq[0] != 0 &&
            shard.seq[0] <= shard.applied ->
        for (i : 0 .. ROWS - 2) {
            shard.row[i] = shard.row[i + 1]; shard.seq[i] = shard.seq[i + 1] }
        shard.row[ROWS - 1] = 0; shard.seq[ROWS - 1] = 0; i = 0 }
    od
}

active [2] proctype Indexer() {
    byte content, seq;
end:
    do
    :: atomic { at < length -> content = log_content[at]; seq = log_seq[at]; at++; busy++ };
        atomic { !locked ->
            if
            :: seq > checkpoint -> shown = content; checkpoint = seq
            :: else
            fi };
        atomic {
            if
            :: !elsewhere && seq > shard.applied -> shard.applied = seq
            :: else
            fi;
            busy--; content = 0; seq = 0 }
    od
}

/* A1, A2: whoever connects first. */
active proctype Adopter() {
    byte i;
end:
    do
    :: atomic { elsewhere ->
        counter++;
        if
        :: shard.state != FENCING || shard.last_seq < shard.kept -> shard.kept = shard.last_seq
        :: else
        fi;
        shard.number = counter; epoch++;
#ifndef NO_RENUMBER
        for (i : 0 .. ROWS - 1) {
            if
            :: shard.row[i] != 0 && shard.seq[i] > shard.applied -> shard.seq[i] = 0
            :: else
            fi }
        i = 0;
#endif
        shard.last_seq = BASE(counter); shard.applied = BASE(counter);
        shard.state = FENCING; elsewhere = false }
    od
}

/* A4, by the relay's process; it may end between any two steps, and another one begins again. */
active proctype Fencer() {
    byte mine;
#ifdef LATE_NOTE
    bool seen;
#endif
end:
    do
    :: atomic { !elsewhere && shard.state == FENCING && !locked -> locked = true; mine = epoch };
#ifndef LATE_NOTE
        atomic {
            if
            :: mine == epoch ->
#ifndef NO_LOST
                if
                :: shard.kept < checkpoint && checkpoint < BASE(shard.number) -> shard.lost = true
                :: else
                fi
#endif
            :: else
            fi };
#endif
        atomic {
#ifdef LATE_NOTE
            seen = shard.kept < checkpoint && checkpoint < BASE(shard.number);
#endif
#ifndef NO_FENCE
            if
            :: mine == epoch && checkpoint < BASE(shard.number) -> checkpoint = BASE(shard.number)
            :: else
            fi;
#endif
            locked = false };
        if
        :: true  /* it ends here */
        :: atomic { mine == epoch && shard.state == FENCING ->
#ifdef LATE_NOTE
            shard.lost = shard.lost || seen;
#endif
            shard.state = (shard.lost -> MENDING : CLEAN) }
        fi;
        mine = 0
    od
}

/* A5: verify and repair, which wait until the indexers have caught up. */
active proctype Mender() {
end:
    do
    :: atomic { !elsewhere && shard.state == MENDING && QUIET ->
#ifndef NO_MEND
        shown = shard.content;
#endif
        shard.state = CLEAN; shard.lost = false }
    od
}

active proctype Judge() {
    atomic { writes == WRITES && restores == RESTORES && !elsewhere && shard.state == CLEAN && QUIET &&
            !locked && length < LOG ->
#ifdef REACHED
        assert(false)
#else
        assert(shown == shard.content)
#endif
    }
}
