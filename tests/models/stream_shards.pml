/* Stream shards while slots move: one range of slots, two shards, one item, one consumer.
 *
 * The steps are those of docs/design/streams.md. Checked exhaustively by
 * tests/unit/test_stream_shards_model.py:
 *
 *     spin -a stream_shards.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * Each of these takes a mechanism out, and must be found wrong:
 *     -DNO_READY    a range moves though what is left of the move before is not done
 *     -DNO_GUARD    S3 does not compare the slot guard of the shard
 *     -DNO_LOCK     S3 does not look again whether there is an open stream shard
 *     -DANY_ORDER   the consumer reads a child before its parent has ended
 *     -DREACHED     nothing is taken out; asserts that the consumer never sees all
 *
 * The owner's writes get their numbers at once: a move waits for that (M8). A move is one step,
 * which raises both slot guards. Workers may stand still between any two steps, and go on
 * until nothing is left to do.
 */

#ifndef WRITES
#define WRITES 3
#endif
#ifndef MOVES
#define MOVES 3
#endif
#define MOST 6 /* stream shards */
#ifdef NO_READY
#define READY true
#else
#define READY (here != NONE && there == NONE)
#endif
#ifdef NO_GUARD
#define FRESH true
#else
#define FRESH (guard[target] == epoch)
#endif
#ifdef NO_LOCK
#define STILL_NONE true
#else
#define STILL_NONE (there == NONE)
#endif
#ifdef ANY_ORDER
#define READ true
#else
#define READ (ss[at].end != OPEN && position >= ss[at].end)
#endif
#define OPEN 99
#define NONE 99

byte owner = 0;
byte guard[2] = 1; /* the epoch of each shard's slots */
byte written = 0;
byte moved = 0;

typedef Numbers { byte version[WRITES + 1] }; /* of a shard's records, by their numbers */
Numbers record[2];
byte last[2];

typedef StreamShard {
    byte at;     /* shard */
    byte parent;
    byte above;
    byte end
};
StreamShard ss[MOST];
byte count = 0;
byte child_of[MOST] = NONE;
byte opened[2]; /* how many of them are open, by shard */

inline open_on(shard, found) {
    d_step {
        found = NONE;
        i = 0;
        do
        :: i < count -> if :: ss[i].at == shard && ss[i].end == OPEN -> found = i :: else fi; i++
        :: else -> break
        od;
        i = 0
    }
}

init {
    ss[0].parent = NONE; ss[0].end = OPEN; count = 1; opened[0] = 1;
    run Writer(); run Mover(); run Worker(); run Worker(); run Consumer()
}

proctype Writer() {
    do
    :: atomic { written < WRITES ->
        written++; last[owner]++; record[owner].version[last[owner]] = written }
    :: written == WRITES -> break
    od
}

proctype Mover() {
    byte i, here, there;
    do
    :: atomic { moved < MOVES ->
        open_on(owner, here); open_on(1 - owner, there);
        if
        :: READY -> /* M6 */
            owner = 1 - owner; moved++; guard[0]++; guard[1]++
        :: else -> skip
        fi }
    :: true -> break
    od
}

proctype Worker() {
    byte i, target, epoch, parent, there;
    do
    :: atomic { opened[owner] == 0 || opened[1 - owner] > 0 -> /* there is something to do */
        target = owner; epoch = guard[target]; /* S1 */
        parent = count - 1 } /* S2: the newest; numbers grow with generations here */
        atomic { /* S3 */
            open_on(target, there);
            if
            :: count < MOST && STILL_NONE && FRESH ->
                ss[count].at = target; ss[count].parent = parent; ss[count].end = OPEN;
                ss[count].above = 0;
                i = 0;
                do
                :: i < count ->
                    if
                    :: ss[i].at == target && ss[i].end != OPEN && ss[i].end > ss[count].above ->
                        ss[count].above = ss[i].end
                    :: else
                    fi; i++
                :: else -> break
                od;
                i = 0; child_of[parent] = count; count++; opened[target]++
            :: else
            fi
        }
        atomic { /* S4 */
            open_on(1 - target, there);
            if
            :: there != NONE ->
                ss[there].end = last[1 - target]; opened[1 - target]--
            :: else
            fi
        }
    od
}

/* Reads a stream shard to its end, and then its child. */
proctype Consumer() {
    byte at = 0, position = 0, seen = 0;
    do
    :: atomic { position < ss[at].above -> position = ss[at].above }
    :: atomic { position >= ss[at].above && position < ss[at].end && position < last[ss[at].at] ->
        position++;
        assert(record[ss[at].at].version[position] == seen + 1);
        seen++ }
    :: atomic { READ && child_of[at] != NONE ->
        at = child_of[at]; position = ss[at].above }
    :: atomic { written == WRITES && seen == WRITES ->
#ifdef REACHED
        assert(false);
#endif
        break }
    :: atomic { timeout -> /* nobody has anything to do */
        assert(seen == written);
        break }
    od
}
