"""The write transaction: main rows, LSI rows and outbox rows, all or nothing.

Two round trips, whatever the number of writes:

0.  Join a batch of several callers, or hold the mutexes of the rows within this process (see
    `group_commit` and `runtime.mutexes`).  A crash here: nothing happened.
1.  BEGIN; lock the definition guards shared; lock the rows, in key order.  A crash here: nothing
    happened.
    a.  A transaction waits for locks that somebody else holds, a batch of strangers too. If a wait
        is long, the shard's batches go on with b, and do so for the next seconds (`LockWaits`):
    b.  A careful batch does not wait. It reads the keys without regard to commits, for what others
        are inserting (a hint only); it locks with SKIP LOCKED; it reads what is committed. A row
        that either read finds and that is not locked here is held by somebody else: whoever writes
        it leaves the batch, and waits for it with those who write the same. A row that neither
        finds is absent.
2.  Check the guards: a write that knows an outdated definition goes no further.
3.  Evaluate each write on the item as the one before left it. One that is refused
    leaves the others alone, but for those of an `AllOrNothing`.
4.  Insert new rows (a duplicate: somebody was faster, start again), then the outbox rows
    (their ids become the versions: the row's lock is held, so ids order the changes of an
    item), then update main and LSI rows; keep tokens (a duplicate likewise); COMMIT.  A crash
    before the commit: nothing happened; after it: all of it is on disk, and the relay finds the
    outbox rows. An `AllOrNothing` alone that is too large for one packet takes several.

If much was read or is to be written, a task does steps 2 to 4 in a thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

from mynamo.catalog import shard as shard_module
from mynamo.catalog.catalog import MOVES
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.migrations import GENERATION_ROW
from mynamo.catalog.shard import DynamoDBShard, PerShard, note_retry, retry
from mynamo.errors import ConditionFailed, MynamoError
from mynamo.mysql.failures import Contention, DuplicateKey, LostConnection, MissingTable
from mynamo.mysql.pool import Result, Session
from mynamo.runtime.crash_points import crash_point
from mynamo.runtime.local_wakeups import relay_wake_ups, wake_up
from mynamo.runtime.mutexes import KeyMutexes, MutexTimeout
from mynamo.runtime.tasks import in_thread
from mynamo.writer.transaction.commit_outcome import HIGHEST_ID, IDS_KEEP, outcome_of_commit
from mynamo.writer.transaction.evaluation import (
    Done,
    Outcome,
    Plan,
    Refused,
    Row,
    evaluate,
    rows_of,
    unforeseen,
    with_versions,
)
from mynamo.writer.transaction.large_commit import run_in_packets
from mynamo.writer.transaction.request_tokens import kept_tokens, note_generation
from mynamo.writer.transaction.statements import (
    IfHeld,
    LockedRow,
    lock_statements,
    log_of,
    looks,
    statements_of,
)
from mynamo.writer.transaction.write_requests import AllOrNothing, Write

MAX_BYTES = 8 * 1024 * 1024
"""Of events in one transaction, unless one alone is larger. What is sent is up to four
times as much (the items themselves, and escaped quotes), in one packet."""
MENDS = (Contention, DuplicateKey, LostConnection)
"""Failures of a caller's own transaction that another attempt can mend."""
LARGE = 256 * 1024
"""Bytes of items, as read and as put, that a task does not work on in the thread that it shares."""
LONG = 0.1
"""Seconds: a transaction whose step 1 takes longer has waited for a lock that is held for long, or
the server is slow."""
CAREFUL_FOR = 5.0
"""Seconds after such a wait for which a shard's batches wait for no locks. What is held for a
moment only is cheaper to wait for: a careful batch makes more transactions."""
MAX_LEFT = 1000
"""Sets of rows that are remembered because their writers have left a batch."""


def mutexes_for(shard: DynamoDBShard) -> KeyMutexes[LockedRow]:
    """New mutexes of a shard's rows, for which callers wait as long as for the shard."""
    own = shard.own_timeout  # without the shard itself: see `PerShard`
    return KeyMutexes(shard.where, lambda: shard_module.PATIENCE if own is None else own)


row_mutexes_of = PerShard(mutexes_for).of
"""The mutexes of a shard's rows, one set per process."""


class LockWaits:
    """Whether transactions of this process have waited long for a shard's locks a moment ago.

    Safe to share between threads: a mistaken moment changes what a batch costs, not what it does.

    Attributes:
        careful_until: when batches may wait again (monotonic).
        left: sets of rows whose writers have left a careful batch of late: in another one they
            would wait for all others' commit, and then for their rows.
        forget_at: when these may be forgotten (monotonic).
    """

    def __init__(self) -> None:
        self.careful_until = self.forget_at = 0.0
        self.left: set[tuple[LockedRow, ...]] = set()

    def note(self) -> None:
        """A wait was long: be careful for `CAREFUL_FOR`."""
        now = time.monotonic()
        if now >= self.forget_at:
            self.left = set()
            self.forget_at = now + CAREFUL_FOR
        self.careful_until = now + CAREFUL_FOR

    def note_left(self, rows: tuple[LockedRow, ...]) -> None:
        """A writer of these has left a careful batch."""
        if len(self.left) < MAX_LEFT:
            self.left.add(rows)


lock_waits_of = PerShard(lambda _: LockWaits()).of
"""Of each shard, one per process."""


class StaleDefinition(MynamoError):  # noqa: N818
    """The write knew an outdated definition of its table, or of the slots.

    Attributes:
        table_ids: of the tables.
        guards: what was found, if several callers are to be told apart.
    """

    def __init__(self, table_ids: set[int], guards: Mapping[int, int] | None = None) -> None:
        super().__init__()
        self.table_ids = table_ids
        self.guards = guards


class TooMuch(MynamoError):  # noqa: N818
    """The writes do not fit into one transaction; divide them."""


@dataclass(frozen=True, slots=True)
class _Locked:
    """What step 1 found.

    Attributes:
        callers: those whose rows and guards are locked here.
        writes: of all of them.
        places: their rows, in ascending order.
        left_out: positions of callers that have to wait for somebody else's lock.
        guards: versions by table id; that of 0 is the epoch of the slots.
        rows: hash, sort, version and item, by table id.
        remembered: commands that are done already; see `lock_statements`.
        kept: likewise, tokens.
        size: bytes of the rows' items and of the items to put.
    """

    callers: Sequence[Sequence[Write]]
    writes: Sequence[Write]
    places: Sequence[LockedRow]
    left_out: frozenset[int]
    guards: Mapping[int, int]
    rows: Mapping[int, Sequence[Any]]
    remembered: Result | None
    kept: Result | None
    size: int


@dataclass(frozen=True, slots=True)
class _Sent:
    """What became of step 4.

    Attributes:
        first_id: of the outbox rows; 0: there are none.
        lost: the connection was lost, so whether it committed must be found out.
        after: an outbox id that those of the transaction are above.
        sent_at: monotonic.
    """

    plan: Plan
    first_id: int = 0
    lost: LostConnection | None = None
    write_id: bytes = b""
    after: int = 0
    sent_at: float = 0.0


@in_thread
def commit(
    cluster: Cluster, shard: DynamoDBShard, writes: Sequence[Write], since: float | None = None
) -> list[Outcome]:
    """Apply writes that belong to one shard, in order, in one transaction.

    Args:
        since: when the caller's patience began (monotonic); None: now.

    Returns:
        One outcome per write.

    Raises:
        StaleDefinition: nothing was written; refresh the catalog and try again.
        TooMuch: nothing was written; they do not fit into one transaction.
        ShardUnavailable: nothing was written; the server does not answer.
        InternalError: nothing was written.
        WriteOutcomeUnknown: the connection was lost and the outcome of its commit is not known.
    """
    with row_mutexes_of(shard).held(places_of(writes), since) as since:
        (outcomes,) = retry(
            lambda: _attempt(cluster, shard, [writes], ""),
            patience=shard.timeout,
            mends=MENDS,
            since=since,
        )
    return cast(list[Outcome], outcomes)


@in_thread
def commit_in_turn(
    cluster: Cluster,
    shard: DynamoDBShard,
    callers: Sequence[Sequence[Write]],
    since: float,
    join: Callable[[], Sequence[Sequence[Write]]],
) -> list[list[Outcome] | None]:
    """As `commit`, for several callers who all write the same rows, and wait for them once.

    It tries once, and waits for each lock as long as the server lets it. Each caller has a patience
    of its own, and decides by itself whether to try again.

    Args:
        since: when the patience of the first of them began (monotonic).
        join: called when the rows are locked: writes of those who came meanwhile, without commands
            and tokens.

    Returns:
        One outcome per write of each caller; then of those who joined.

    Raises:
        Contention, DuplicateKey, LostConnection: nothing was written; another attempt can mend it.
        WriteOutcomeUnknown: see `commit`.
        MynamoError: nothing was written; each may try alone.
    """
    try:
        with row_mutexes_of(shard).held(places_of(callers[0]), since):
            return _attempt(cluster, shard, callers, "", join)
    except MutexTimeout as failure:  # the others may have patience left
        raise Contention(str(failure)) from None


def commit_together(
    cluster: Cluster, shard: DynamoDBShard, callers: Sequence[Sequence[Write]], careful: bool
) -> list[list[Outcome] | None]:
    """As `commit`, for writes of several callers: without patience, which one of them would
    have at the others' expense.

    Args:
        careful: wait for nobody's lock (step 1b), or not for longer than the server lets it.

    Returns:
        Per caller: one outcome per write; or None: somebody else's transaction holds what it
        writes. Nothing of it was written; it has to wait for that.

    Raises:
        WriteOutcomeUnknown: see `commit`.
        MynamoError: nothing was written; each may try alone.
    """

    def attempt(if_held: IfHeld) -> list[list[Outcome] | None]:
        return retry(
            lambda: _attempt(cluster, shard, callers, if_held),
            patience=0.1,
            mends=(DuplicateKey,),
        )

    if not careful:
        try:
            return attempt("")
        except Contention as failure:
            note_retry(failure)
    return attempt("SKIP LOCKED")


def places_of(writes: Sequence[Write]) -> list[LockedRow]:
    """The rows that writes change, in ascending order."""
    return sorted({(write.table.id, write.row) for write in writes})


def _attempt(
    cluster: Cluster,
    shard: DynamoDBShard,
    callers: Sequence[Sequence[Write]],
    if_held: IfHeld,
    join: Callable[[], Sequence[Sequence[Write]]] | None = None,
) -> list[list[Outcome] | None]:
    with shard.session() as session:
        began = time.monotonic()
        try:
            locked = _lock(session, callers, if_held)  # step 1
        finally:
            if time.monotonic() - began > LONG:
                lock_waits_of(shard).note()
        if join is not None:
            joined = join()
            callers = [*callers, *joined]
            more = [write for own in joined for write in own]
            size = locked.size + sum(write.size for write in more)
            locked = replace(
                locked,
                callers=[*locked.callers, *joined],
                writes=[*locked.writes, *more],
                size=size,
            )
        identity = session.identity
        write = in_thread(_write) if locked.size > LARGE else _write
        sent = write(cluster, shard, session, locked)  # steps 2 to 4
    first_id = sent.first_id
    if sent.lost is not None:
        # The dead connection is given back first: finding out needs another one.
        found = outcome_of_commit(shard, identity, sent.write_id, sent.after, sent.sent_at)
        if found is None:
            raise sent.lost
        first_id = found
    each = iter(with_versions(sent.plan.outcomes, first_id))
    answers: list[list[Outcome] | None] = []
    for position, writes in enumerate(callers):
        own = None if position in locked.left_out else list(islice(each, len(writes)))
        answers.append(own)
    return answers


def _write(cluster: Cluster, shard: DynamoDBShard, session: Session, locked: _Locked) -> _Sent:
    check_guards(locked.writes, locked.guards)  # step 2
    write_id = os.urandom(16)
    try:
        rows = _rows(locked)
        crash_point("writer.1")
        remembered = remembered_outcomes(locked.remembered) if locked.remembered else {}
        kept = kept_tokens(locked.kept) if locked.kept else {}
        generation = locked.guards.get(GENERATION_ROW, 0)
        if generation:
            note_generation(shard, generation)
        plan = evaluate(locked.callers, rows, remembered, kept, generation)  # step 3
        if not (plan.events or plan.commands or plan.tokens or plan.holds):
            session.rollback()
            return _Sent(plan)
        is_large = plan.size > MAX_BYTES and len(locked.writes) > 1
        if is_large and not _is_one_entry(locked.callers):
            raise TooMuch
        changed = list(rows.values())
        is_moving = any(write.route.log is not None for write in locked.writes)
        log = log_of(locked.callers, rows) if is_moving else ()
        if not is_large:
            by_slot = cluster.snapshot.format >= MOVES
            statements, outbox_at = statements_of(
                changed, plan, write_id, generation, (), log, by_slot=by_slot
            )
    except MynamoError:
        raise
    except Exception as error:
        raise unforeseen(f"{shard.where}: {len(locked.writes)} writes", error) from error
    after, sent_at = session.highest_id, time.monotonic()
    crash_point("writer.3")
    try:  # step 4
        if is_large:
            first_id = run_in_packets(
                session, changed, plan, write_id, generation, (), log, MAX_BYTES
            )
        else:
            results = session.run(*statements)
            first_id = results[outbox_at].insert_id if plan.events else 0
    except LostConnection as failure:
        return _Sent(plan, lost=failure, write_id=write_id, after=after, sent_at=sent_at)
    crash_point("writer.4")
    wake_up(cluster.id, relay_wake_ups(shard.id))
    if first_id:
        session.note_id(first_id)
    return _Sent(plan, first_id)


def _is_one_entry(callers: Sequence[Sequence[Write]]) -> bool:
    """Whether the writes are those of one `AllOrNothing`, which is never divided."""
    return len(callers) == 1 and isinstance(callers[0], AllOrNothing)


def _lock(session: Session, callers: Sequence[Sequence[Write]], if_held: IfHeld) -> _Locked:
    writes = [write for writes in callers for write in writes]
    places = places_of(writes)
    table_ids = sorted({write.table.id for write in writes})
    commands = [(w.row.slot, w.request.command_id) for w in writes if w.request.command_id]
    tokens = [w.token.token for w in callers if isinstance(w, AllOrNothing) and w.token]
    statements = lock_statements(table_ids, places, commands, tokens, if_held)
    before, after = looks(places) if if_held == "SKIP LOCKED" else ((), ())
    ask = [HIGHEST_ID] if time.monotonic() - session.highest_id_at > IDS_KEEP else []
    try:
        results = session.run(*ask, *before, *statements, *after)
    except MissingTable:
        raise StaleDefinition(set(table_ids)) from None
    if ask:
        session.note_id(results.pop(0).rows[0][0])
    first = len(before)
    rows = {table_id: results[first + 2 + at].rows for at, table_id in enumerate(table_ids)}
    guards = dict(results[first + 1].rows)
    left_out: frozenset[int] = frozenset()
    if before:
        seen_rows = (*results[:first], *results[first + len(statements) :])
        left_out = _left_out(callers, guards, rows, seen_rows)
    if tokens:
        left_out |= _left_out_by_token(callers, is_locked=GENERATION_ROW in guards or not before)
    if left_out:
        callers = [own for at, own in enumerate(callers) if at not in left_out]
        writes = [write for own in callers for write in own]
        places = places_of(writes)
    size = sum([len(row[-1]) for found in rows.values() for row in found])
    size += sum([write.size for write in writes])
    remembered = results[first + 2 + len(table_ids)] if commands else None
    kept = results[first + len(statements) - 1] if tokens else None
    return _Locked(callers, writes, places, left_out, guards, rows, remembered, kept, size)


def _left_out_by_token(callers: Sequence[Sequence[Write]], is_locked: bool) -> frozenset[int]:
    """Positions of the callers whose token another one of this batch has, or all that have one.

    Args:
        is_locked: the shard's generation is.
    """
    seen: set[bytes] = set()
    found = set()
    for position, own in enumerate(callers):
        if isinstance(own, AllOrNothing) and own.token is not None:
            if own.token.token in seen or not is_locked:
                found.add(position)
            seen.add(own.token.token)
    return frozenset(found)


def _left_out(
    callers: Sequence[Sequence[Write]],
    guards: Mapping[int, int],
    rows: Mapping[int, Sequence[Any]],
    looked: Sequence[Result],
) -> frozenset[int]:
    """Positions of the callers that write what somebody else holds.

    Args:
        guards, rows: that are locked here.
        looked: what `looks` gave.
    """
    locked = {(table_id, row[0], row[1]) for table_id, of in rows.items() for row in of}
    held = {row for result in looked for row in result.rows} - locked
    return frozenset(
        position
        for position, writes in enumerate(callers)
        if 0 not in guards
        or any(
            write.table.id not in guards or (write.table.id, *write.row) in held for write in writes
        )
    )


def _rows(locked: _Locked) -> dict[LockedRow, Row]:
    tables = {write.table.id: write.table for write in locked.writes}
    return rows_of(tables, locked.places, locked.rows)


def check_guards(writes: Sequence[Write], found: Mapping[int, int]) -> None:
    """Raises StaleDefinition if a write knows another definition, or other slots, than the guards.

    Each write is compared by itself: those of one batch may know different definitions of a table.
    """
    epoch = found.get(0, -1)
    outdated: set[int] = set()
    moved = False
    for write in writes:
        if found.get(write.table.id) != write.table.version:
            outdated.add(write.table.id)
        route = write.route
        moved = moved or not route.since <= epoch <= route.epoch
    if outdated or moved:
        raise StaleDefinition(outdated, found)


def remembered_outcomes(result: Result) -> dict[bytes, Outcome]:
    """The outcomes of queued writes that the shard has decided before, by command id."""
    return {
        command_id: Refused(ConditionFailed(refused.decode("utf-8", "replace")), repeated=True)
        if refused is not None
        else Done(version or 0, repeated=True)
        for command_id, version, refused in result.rows
    }
