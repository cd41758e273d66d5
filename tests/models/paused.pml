/* Pausing streams whose target shard is away: two streams of one partition of Kafka, two targets.
 *
 * The steps are those of mynamo/gsi_indexer/paused.py. Checked exhaustively by
 * tests/unit/test_paused_model.py. Each of these takes a mechanism out, and must be found wrong:
 *     -DNO_HOLD    step 2 passes over only what needs the shard that is away, and moves the position
 *     -DNO_SEEK    step 4 does not read again
 *     -DLATEST     step 4 seeks to the last offset that was noted, not the least
 *     -DPASSING    step 3 commits all that was read
 *     -DREACHED    nothing is taken out; asserts that the end is never reached
 *
 * Stream 0 has the events at offsets 0, 2 and 4, which go to targets 0, 1 and 0; stream 1 those at
 * 1, 3 and 5, which go to targets 1, 0 and 1. Each target may be away for a time, and may go away
 * again; the indexer may die, or lose the partition, at any step, and begins at the committed
 * offset with the positions that the sources have. Nobody publishes again: whatever is passed
 * stays unread.
 */

#define N 6
#define STREAM(o) ((o) % 2)
#define TARGET(o) ((((o) / 2) + STREAM(o)) % 2)
#define NONE 9

bool away[2];
byte outages = 2;
byte deaths = 2;
byte applied[2];      /* per stream, recorded: the offset behind its last applied event */
byte place[2];        /* per target: how many events it has */
byte committed = 0;

/* the indexer's memory */
byte at = 0;          /* offset of the next message */
byte known[2];        /* per stream: position, as `applied` */
byte paused[2];       /* per stream: the target that it waits for; NONE */
byte from[2];         /* per stream: the offset noted */

active proctype Servers() {
    do
    :: atomic { outages > 0 && !away[0] -> away[0] = true; outages-- }
    :: atomic { outages > 0 && !away[1] -> away[1] = true; outages-- }
    :: away[0] -> away[0] = false
    :: away[1] -> away[1] = false
    :: outages == 0 && !away[0] && !away[1] -> break
    od
}

inline begin() {
    at = committed;
    known[0] = applied[0]; known[1] = applied[1];
    paused[0] = NONE; paused[1] = NONE; from[0] = 0; from[1] = 0
}

#ifdef PASSING
#define MAY_COMMIT true
#else
#define MAY_COMMIT (paused[0] == NONE && paused[1] == NONE)
#endif
#ifdef NO_HOLD
#define FREE true
#else
#define FREE (paused[s] == NONE || at < from[s])
#endif
/* The previous event of a stream is two before; a gap is not applied. */
#define NEXT(o) (known[STREAM(o)] == ((o) >= 2 -> (o) - 1 : 0))

active proctype Indexer() {
    byte s;
    atomic { begin() }
    do
    :: atomic { deaths > 0 -> deaths--; begin() }
    :: atomic { at < N -> /* one message: steps 1 and 2 */
        s = STREAM(at);
        if
        :: at < known[s] -> skip                     /* known */
        :: (at >= known[s] && !FREE) -> skip         /* passed over */
        :: (at >= known[s] && FREE && away[TARGET(at)]) ->
            if
            :: paused[s] == NONE -> paused[s] = TARGET(at); from[s] = at
            :: else -> skip
            fi
#ifdef NO_HOLD
        :: (at >= known[s] && !away[TARGET(at)]) ->
            place[TARGET(at)]++; known[s] = at + 1; applied[s] = at + 1
#else
        :: (at >= known[s] && FREE && !away[TARGET(at)]) ->
            if
            :: NEXT(at) -> place[TARGET(at)]++; known[s] = at + 1; applied[s] = at + 1
            :: else -> skip
            fi
#endif
        fi;
        at++ }
    :: atomic { /* step 3 */
        (MAY_COMMIT && committed < at) -> committed = at }
    :: atomic { /* step 4 */ ((paused[0] != NONE && !away[paused[0]])
            || (paused[1] != NONE && !away[paused[1]])) ->
        s = N;
        if
        :: paused[0] != NONE && !away[paused[0]] -> s = from[0]; paused[0] = NONE
        :: else -> skip
        fi;
        if
        :: paused[1] != NONE && !away[paused[1]] ->
#ifdef LATEST
            s = from[1];
#else
            s = (from[1] < s -> from[1] : s);
#endif
            paused[1] = NONE
        :: else -> skip
        fi;
#ifdef NO_SEEK
        s = N;
#endif
        at = (s < at -> s : at) }
    :: (at == N && paused[0] == NONE && paused[1] == NONE && deaths == 0 && outages == 0
            && !away[0] && !away[1]) -> break
    od;
    assert(place[0] == 3 && place[1] == 3); /* each event once, none left out */
#ifdef REACHED
    assert(false)
#endif
}
