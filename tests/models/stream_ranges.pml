/* Stream shards that are divided while slots move: two ranges of slots, an item in each, and two shards.
 *
 * The steps are those of docs/design/streams.md. Checked exhaustively by
 * tests/unit/test_stream_shards_model.py:
 *
 *     spin -a stream_ranges.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan
 *
 * Each of these takes a mechanism out, and must be found wrong:
 *     -DNO_READY    M6: a range moves though what is left of the move before is not done
 *     -DNO_LOCK     S3 does not look again whether there is an open stream shard
 *     -DREACHED     nothing is taken out; asserts that the end is never reached
 *
 * The owner's writes get their numbers at once: a move waits for that (M8). M9 closes a range and
 * raises both slot guards; M11 gives it to the other shard. `stream_shards.pml` has one range that
 * moves more often, and a consumer. Workers may stand still between any two
 * steps, and go on until nothing is left to do.
 */

#ifndef WRITES
#define WRITES 2 /* of each item */
#endif
#ifndef MOVES
#define MOVES 2
#endif
#define MOST 8 /* stream shards */
#define OPEN 99
#define NONE 99
#ifdef NO_READY
#define READY(r) true
#else
#define READY(r) (covered[r] != NONE && OPEN_ON(r, (1 - owner[r])) == 0)
#endif
#define FRESH (guard[s] == epoch)
#define QUIET (!closed[0] && !closed[1])
#ifdef NO_LOCK
#define FREE true
#else
#define FREE (OPEN_ON(x, s) == 0)
#endif
#define HAS(k, r) ((ss[k].ranges >> (r)) & 1)
#define OPEN_ON(r, s) open_on[2 * (s) + (r)]

byte owner[2];          /* of each range */
bool closed[2];
byte guard[2] = 1;      /* the epoch of each shard's slots */
byte written[2];        /* of each range's item */
byte moved;
byte ended;             /* movers */

typedef Numbers { byte version[2 * WRITES + 1]; byte item[2 * WRITES + 1] };
Numbers record[2];      /* of each shard, by numbers */
byte last[2];

typedef StreamShard {
    byte at;            /* shard */
    byte ranges;        /* one bit for each */
    byte parent;
    byte generation;
    byte above;
    byte end
};
StreamShard ss[MOST];
byte count;
/* These follow from the above: */
byte open_on[4];        /* how many are open, by shard and range */
byte newest[2];         /* of each range: the one of the greatest generation */
byte covered[2] = NONE; /* the same, if it is open on the owner */

inline derive() {
    newest[0] = 0; newest[1] = 0; /* the first one has both */
    open_on[0] = 0; open_on[1] = 0; open_on[2] = 0; open_on[3] = 0;
    k = 0;
    do
    :: k < count ->
        r = 0;
        do
        :: r < 2 ->
            if
            :: HAS(k, r) ->
                if
                :: ss[k].generation > ss[newest[r]].generation -> newest[r] = k
                :: else
                fi;
                if
                :: ss[k].end == OPEN -> OPEN_ON(r, ss[k].at)++
                :: else
                fi
            :: else
            fi;
            r++
        :: else -> break
        od;
        k++
    :: else -> break
    od;
    r = 0;
    do
    :: r < 2 ->
        covered[r] = (ss[newest[r]].end == OPEN && ss[newest[r]].at == owner[r] -> newest[r] : NONE);
        r++
    :: else -> break
    od;
    k = 0; r = 0
}

inline begin(where, which, before, start) {
    ss[count].at = where; ss[count].ranges = which; ss[count].parent = before;
    ss[count].generation = ss[before].generation + 1; ss[count].end = OPEN;
    ss[count].above = start; count++
}

init {
    byte k, r;
    d_step {
        ss[0].parent = NONE; ss[0].end = OPEN; ss[0].ranges = 3; ss[0].generation = 1; count = 1;
        derive()
    }
    atomic {
        run Writer(0); run Writer(1); run Mover(0); run Mover(1); run Worker(); run Worker();
        run Monitor()
    }
}

proctype Writer(byte x) {
    do
    :: d_step { written[x] < WRITES && !closed[x] ->
        written[x]++; last[owner[x]]++;
        record[owner[x]].version[last[owner[x]]] = written[x];
        record[owner[x]].item[last[owner[x]]] = x }
    :: written[x] == WRITES -> break
    od
}

proctype Mover(byte x) {
    byte k, r;
    do
    :: d_step { moved < MOVES && READY(x) -> /* M6 to M9 */
        moved++; closed[x] = true; guard[0]++; guard[1]++ }
        d_step { owner[x] = 1 - owner[x]; closed[x] = false; derive() } /* M11 */
    :: moved == MOVES -> break
    :: true -> break
    od;
    ended++
}

proctype Worker() {
    byte k, r, x, s, epoch, at, start;
again:
    if /* S1, S2: a range that is not covered; or what is open where the range is not, but is covered */
    :: d_step { QUIET && covered[0] == NONE && count < MOST ->
        x = 0; s = owner[0]; epoch = guard[s]; at = newest[0] }
    :: d_step { QUIET && covered[1] == NONE && count < MOST ->
        x = 1; s = owner[1]; epoch = guard[s]; at = newest[1] }
    :: d_step { QUIET && covered[0] != NONE && OPEN_ON(0, (1 - owner[0])) > 0 && count < MOST ->
        x = 0; s = 1 - owner[0] }
        goto ending
    :: d_step { QUIET && covered[1] != NONE && OPEN_ON(1, (1 - owner[1])) > 0 && count < MOST ->
        x = 1; s = 1 - owner[1] }
        goto ending
    fi;
    skip;
    d_step { /* S3 */
        if
        :: count < MOST && FREE && FRESH ->
            start = 0; k = 0;
            do
            :: k < count ->
                if
                :: ss[k].at == s && HAS(k, x) && ss[k].end != OPEN && ss[k].end > start ->
                    start = ss[k].end
                :: else
                fi;
                k++
            :: else -> break
            od;
            begin(s, (1 << x), at, start);
            derive()
        :: else
        fi;
        k = 0; r = 0; x = 0; s = 0; epoch = 0; at = 0; start = 0
    }
    goto again;
ending:
    skip;
    d_step { /* S4: which one, and by which map */
        epoch = guard[s]; at = NONE; k = 0;
        do
        :: k < count ->
            if
            :: ss[k].at == s && HAS(k, x) && ss[k].end == OPEN -> at = k
            :: else
            fi;
            k++
        :: else -> break
        od;
        if
        :: owner[x] == s || covered[x] == NONE || closed[x] -> at = NONE
        :: else
        fi;
        start = (owner[1 - x] == s);
        k = 0
    }
    skip;
    d_step { /* S4 */
        if
        :: at != NONE ->
            if
            :: ss[at].end == OPEN && FRESH && count < MOST ->
                ss[at].end = last[s];
                if
                :: HAS(at, (1 - x)) && start -> begin(s, (1 << (1 - x)), at, last[s])
                :: else
                fi;
                derive()
            :: else
            fi
        :: else
        fi;
        k = 0; r = 0; x = 0; s = 0; epoch = 0; at = 0; start = 0
    }
    goto again
}

/* Once nothing is left to do: each record is in just one stream shard, and who reads parents before
 * children sees the versions of each item in their order. */
proctype Monitor() {
    byte k, s, p, found, x, at;
    byte place[2]; /* of each item: the stream shard of its last version so far, by shards' numbers */
    d_step { ended == 2 && written[0] == WRITES && written[1] == WRITES && covered[0] != NONE &&
        covered[1] != NONE && OPEN_ON(0, (1 - owner[0])) == 0 && OPEN_ON(1, (1 - owner[1])) == 0 ->
#ifdef REACHED
        assert(false);
#endif
        x = 0;
        do
        :: x < 2 ->
            place[x] = NONE; found = 1;
            do
            :: found <= written[x] -> /* the version that is looked for */
                s = 0; at = NONE;
                do
                :: s < 2 ->
                    p = 1;
                    do
                    :: p <= last[s] ->
                        if
                        :: record[s].item[p] == x && record[s].version[p] == found ->
                            k = 0;
                            do
                            :: k < count ->
                                if
                                :: ss[k].at == s && HAS(k, x) && ss[k].above < p &&
                                    p <= ss[k].end ->
                                    assert(at == NONE);
                                    at = k
                                :: else
                                fi;
                                k++
                            :: else -> break
                            od
                        :: else
                        fi;
                        p++
                    :: else -> break
                    od;
                    s++
                :: else -> break
                od;
                assert(at != NONE);
                k = at;
                do
                :: place[x] != NONE && k != place[x] && k != NONE -> k = ss[k].parent
                :: else -> break
                od;
                assert(k != NONE);
                place[x] = at; found++
            :: else -> break
            od;
            x++
        :: else -> break
        od
    }
}
