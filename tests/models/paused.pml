/* An indexer beside shards that are away: two streams of one partition of Kafka, two targets.
 *
 * The steps are those of mynamo/gsi_indexer/paused.py. Checked exhaustively by
 * tests/unit/test_paused_model.py. Each of these takes a mechanism out, and must be found wrong:
 *     -DNO_HOLD    step 2 lets a target that has missed an event have later ones
 *     -DNO_SEEK    step 4 does not read again
 *     -DNO_LOWER   step 4 leaves the position where it is, so what comes again counts as known
 *     -DFORWARD    step 4 raises the position where it is lower, as another target reads again
 *     -DLATEST     step 4 seeks to the last offset that was noted, not the least
 *     -DPASSING    step 3 commits all that was read
 *     -DAHEAD      step 3 records the position, whatever a target misses
 *     -DTOLD       step 2 moves the checkpoint of a target that misses something
 *     -DWHOLE      step 2 passes over all of a stream: others wait for a shard that is away
 *     -DREACHED    nothing is taken out; asserts that the end is never reached
 *
 * Stream 0 has the events at offsets 0, 2 and 4, stream 1 those at 1 and 3. The rows of event 1 and
 * 2 go to both targets, those of others to one. Each target may be away for a time, and may go away
 * again. The indexer may die, or lose the partition, at any step, and begins at the committed offset
 * with the positions that the sources have. Of two MEMBERS each may be frozen anywhere and wake up
 * late, believing that the partition is its own. Nobody publishes again: whatever is passed stays
 * unread.
 */

#define N 5
#define NONE 9
#define STREAM(o) ((o) % 2)
/* 0: to target 0; 1: both; 2: both; 3: to target 0; 4: to target 1 */
#define GOES(o, t) ((o) == 1 || (o) == 2 || ((t) == 0 && (o) != 4) || ((t) == 1 && (o) == 4))
#define MIN(a, b) ((a) < (b) -> (a) : (b))
#define MAX(a, b) ((a) > (b) -> (a) : (b))

#ifndef MEMBERS
#define MEMBERS 1
#define OUTAGES 2
#define DEATHS 2
#endif

bool away[2];
byte outages = OUTAGES;
byte deaths = DEATHS;
byte applied[2];      /* per stream, on its source: all before this offset is applied everywhere */
byte contained[4];    /* per stream and target, its checkpoint: the offset behind the last event */
byte rows[2];         /* per target: events whose rows it has, one bit each */
byte committed = 0;
byte ended = 0;

active proctype Servers() {
    do
    :: atomic { outages > 0 && !away[0] -> away[0] = true; outages-- }
    :: atomic { outages > 0 && !away[1] -> away[1] = true; outages-- }
    :: away[0] -> away[0] = false
    :: away[1] -> away[1] = false
    :: outages == 0 && !away[0] && !away[1] -> break
    od
}

#define MISSES(t) missed[2 * s + (t)]
#define WAITS (missed[0] != NONE || missed[1] != NONE || missed[2] != NONE || missed[3] != NONE)
#ifdef AHEAD
#define SETTLED(x) known[x]
#else
#define SETTLED(x) MIN(known[x], MIN(missed[2 * (x)], missed[2 * (x) + 1]))
#endif
#ifdef TOLD
#define MAY_TELL(t) true
#else
#define MAY_TELL(t) (MISSES(t) == NONE)
#endif
#ifdef PASSING
#define MAY_COMMIT true
#else
#define MAY_COMMIT !WAITS
#endif

inline begin() {
    at = committed;
    known[0] = applied[0]; known[1] = applied[1];
    missed[0] = NONE; missed[1] = NONE; missed[2] = NONE; missed[3] = NONE;
    s = 0; t = 0
}

inline resume_stream(x) {
    if
    :: missed[2 * x + t] != NONE ->
#ifdef LATEST
        from = missed[2 * x + t];
#else
        from = MIN(from, missed[2 * x + t]);
#endif
#ifdef FORWARD
        known[x] = missed[2 * x + t];
#else
#ifndef NO_LOWER
        known[x] = MIN(known[x], missed[2 * x + t]);
#endif
#endif
        missed[2 * x + t] = NONE
    :: else -> skip
    fi
}

proctype Indexer() {
    byte at;          /* offset of the next message */
    byte known[2];    /* per stream: its position, as `applied` */
    byte missed[4];   /* per stream and target: offset of the first event that it misses; NONE */
    byte s, t, from;

    atomic { begin() }
    do
    :: atomic { deaths > 0 -> deaths--; begin() }
    :: at < N -> /* one message */
        atomic {
            s = STREAM(at); t = 0;
            /* known, or a gap: the stream's previous event is two before */
            if
            :: at < known[s] || known[s] < (at >= 2 -> at - 1 : 0) -> t = 2
#ifdef WHOLE
            :: MISSES(0) != NONE || MISSES(1) != NONE -> t = 2
#endif
            :: else -> skip
            fi
        }
        if
        :: atomic { t == 2 -> at++; s = 0; t = 0 }
        :: else ->
            do /* a transaction on each target: steps 1 and 2 */
            :: atomic { t < 2 && !GOES(at, t) -> t++ }
#ifndef NO_HOLD
            :: atomic { t < 2 && GOES(at, t) && MISSES(t) != NONE -> t++ }
            :: atomic { t < 2 && GOES(at, t) && MISSES(t) == NONE && away[t] ->
                MISSES(t) = at; t++ }
            :: atomic { t < 2 && GOES(at, t) && MISSES(t) == NONE && !away[t] ->
#else
            :: atomic { t < 2 && GOES(at, t) && away[t] -> MISSES(t) = MIN(at, MISSES(t)); t++ }
            :: atomic { t < 2 && GOES(at, t) && !away[t] ->
#endif
                if
                :: at >= contained[2 * s + t] ->
                    assert((rows[t] & (1 << at)) == 0);
                    rows[t] = rows[t] | (1 << at);
                    contained[2 * s + t] = at + 1
                :: else -> skip /* this target has it */
                fi;
                t++ }
            :: atomic { deaths > 0 -> deaths--; begin(); break }
            :: atomic { t == 2 -> known[s] = at + 1; at++; s = 0; t = 0; break }
            od
        fi
    :: atomic { /* step 2: checkpoints, for readers that wait for one target */
        WAITS ->
        if
        :: s = 0; t = 0
        :: s = 0; t = 1
        :: s = 1; t = 0
        :: s = 1; t = 1
        fi;
        if
        :: !away[t] && MAY_TELL(t) && contained[2 * s + t] < known[s] ->
            contained[2 * s + t] = known[s]
        :: else -> skip
        fi;
        s = 0; t = 0 }
    :: atomic { /* step 3: progress */
        applied[0] < SETTLED(0) || applied[1] < SETTLED(1) ->
        applied[0] = MAX(applied[0], SETTLED(0)); applied[1] = MAX(applied[1], SETTLED(1)) }
    :: atomic { /* step 3: offsets */
        committed < at && MAY_COMMIT && applied[0] >= SETTLED(0) && applied[1] >= SETTLED(1) ->
        committed = at }
    :: atomic { /* step 4 */
        WAITS ->
        if
        :: !away[0] && (missed[0] != NONE || missed[2] != NONE) -> t = 0
        :: !away[1] && (missed[1] != NONE || missed[3] != NONE) -> t = 1
        fi;
        from = N;
        resume_stream(0);
        resume_stream(1);
#ifndef NO_SEEK
        at = MIN(at, from);
#endif
        s = 0; t = 0; from = 0
        }
    :: atomic { at == N ->
        /* All has been read: who is not waited for has all that is for it. */
        assert(missed[0] != NONE || (rows[0] & 5) == 5);
        assert(missed[1] != NONE || (rows[1] & 20) == 20);
        assert(missed[2] != NONE || (rows[0] & 10) == 10);
        assert(missed[3] != NONE || (rows[1] & 2) == 2);
        (!WAITS && deaths == 0 && outages == 0 && !away[0] && !away[1]
            && applied[0] >= known[0] && applied[1] >= known[1]) -> break }
    od;
    ended++;
#ifdef REACHED
    assert(ended < MEMBERS)
#endif
}

init { atomic {
    byte i;
    for (i : 1 .. MEMBERS) { run Indexer() }
} }
