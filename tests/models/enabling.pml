/* Enabling transactions over several shards beside processes of an older release.
 *
 * The steps E1 to E3 are those of docs/design/transactions.md. Checked exhaustively by
 * tests/unit/test_transaction_model.py:
 *
 *     spin -a enabling.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan -E
 *
 * Each of these takes a mechanism out, and must be found wrong:
 *     -DFORMAT_ONLY   E2 and E3 leave the epoch of the slots as it is
 *     -DUNGUARDED     T3 does not compare the epoch with the shard's guard
 *     -DGUARD_FIRST   a read of the old release reads the guard before the rows
 *     -DNO_OLDEST     E3 does not keep old processes from opening connections
 *     -DLATE_OLDEST   or does it last
 *     -DREACHED       nothing is taken out; asserts that no intent is ever placed
 *
 * One shard; what the others do does not matter to it. An old process knows the slot map from before,
 * until it reads the catalog. It must not write an item that has an intent, nor see its mark or
 * placeholder, nor begin an incarnation of a shard on which intents can be, as it would leave the
 * generation as it is. The shard may go back in time once; its connections end then.
 */

bool allowed;   /* the catalog: format 3, with the slots' new epoch */
bool guard;     /* the shard's row 0 has the new epoch */
bool oldest;    /* the shard's format lets no old process open a connection */
bool marked;    /* an item has an intent */
bool opened;    /* the old process has a connection */

proctype Old() {
    bool seen, in_time;
    do
    :: atomic { allowed -> goto over }  /* it reads the catalog: "upgrade" */
    :: atomic { !opened && oldest -> goto over }
    :: atomic { !opened && !oldest ->
        opened = true;
        assert(!guard) }  /* it may find another server, and begin an incarnation */
    :: atomic { opened && !guard -> assert(!marked) }  /* a write */
    :: opened ->  /* a read */
#ifdef GUARD_FIRST
        in_time = !guard;
        seen = marked;
#else
        seen = marked;
        in_time = !guard;
#endif
        atomic { assert(!(opened && in_time && seen)); seen = false; in_time = false }
    od;
over:
    skip
}

/* A process of the new release. */
proctype New() {
    bool known;
    do
    :: atomic { known != allowed -> known = allowed }
#if defined(UNGUARDED) || defined(FORMAT_ONLY)
    :: atomic { known && !marked -> marked = true }
#else
    :: atomic { known && guard && !marked -> marked = true }  /* T3 */
#endif
#ifdef REACHED
    :: atomic { marked -> assert(false) }
#endif
    :: atomic { marked -> marked = false }  /* T5, or release */
    od
}

/* `mynamo transaction enable`, which may die at any step; and the rounds of writer workers. */
proctype Command() {
    do
    :: atomic { !allowed -> allowed = true }  /* E2 */
#ifndef NO_OLDEST
#ifdef LATE_OLDEST
    :: atomic { guard && !oldest -> oldest = true }
#else
    :: atomic { allowed && !oldest -> oldest = true }  /* E3 */
#endif
#endif
#ifndef FORMAT_ONLY
#if defined(NO_OLDEST) || defined(LATE_OLDEST)
    :: atomic { allowed && !guard -> guard = true }
#else
    :: atomic { allowed && oldest && !guard -> guard = true }  /* E3 */
#endif
#endif
    od
}

proctype Disaster() {
    bool old_guard, old_oldest, old_marked;
    atomic { old_guard = guard; old_oldest = oldest; old_marked = marked };
    atomic { guard = old_guard; oldest = old_oldest; marked = old_marked; opened = false }
}

init {
    atomic { opened = true; run Old(); run New(); run Command(); run Disaster() }
}
