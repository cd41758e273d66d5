"""The write transaction: main rows, LSI rows and outbox rows, all or nothing.

Two round trips, whatever the number of writes:

0.  Hold the mutexes of the rows within this process (see `runtime.mutexes`).
1.  BEGIN; lock the definition guards shared; lock the rows, in key order.  A crash here: nothing
    happened.
2.  Check the guards: a write that knows an outdated definition goes no further.
3.  Evaluate each write on the item as the one before left it. One that is refused
    leaves the others alone.
4.  Insert new rows (a duplicate: somebody was faster, start again), then the outbox rows
    (their ids become the versions: the row's lock is held, so ids order the changes of an
    item), then update main and LSI rows; COMMIT.  A crash before the commit: nothing
    happened; after it: all of it is on disk, and the relay finds the outbox rows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from mynamo.catalog import shard as shard_module
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard, PerShard, retry
from mynamo.catalog.tables import RowKey
from mynamo.errors import ConditionFailed, MynamoError
from mynamo.mysql.failures import Contention, DuplicateKey, LostConnection, MissingTable
from mynamo.mysql.pool import Result, Session
from mynamo.runtime.crash_points import crash_point
from mynamo.runtime.local_wakeups import relay_wake_ups, wake_up
from mynamo.runtime.mutexes import KeyMutexes
from mynamo.runtime.tasks import in_thread
from mynamo.schemas.items import load_item
from mynamo.writer.transaction.commit_outcome import HIGHEST_ID, IDS_KEEP, outcome_of_commit
from mynamo.writer.transaction.evaluation import (
    Done,
    Outcome,
    Refused,
    Row,
    evaluate,
    with_versions,
)
from mynamo.writer.transaction.statements import lock_statements, statements_of
from mynamo.writer.transaction.write_requests import Current, Write

MAX_BYTES = 8 * 1024 * 1024
"""Of events in one transaction, unless one alone is larger. What is sent is up to four
times as much (the items themselves, and escaped quotes), in one packet."""
_NOTHING = Current(None, 0)

LockedRow = tuple[int, RowKey]
"""A table's id and a row of it."""


def _mutexes(shard: DynamoDBShard) -> KeyMutexes[LockedRow]:
    own = shard.own_timeout  # without the shard itself: see `PerShard`
    return KeyMutexes(shard.where, lambda: shard_module.PATIENCE if own is None else own)


row_mutexes_of = PerShard(_mutexes).of
"""The mutexes of a shard's rows, one set per process."""


class StaleDefinition(MynamoError):  # noqa: N818
    """The write knew an outdated definition of its table, or of the slots."""

    def __init__(self, table_ids: set[int]) -> None:
        super().__init__()
        self.table_ids = table_ids


class TooMuch(MynamoError):  # noqa: N818
    """The writes do not fit into one transaction; divide them."""


@in_thread
def commit(cluster: Cluster, shard: DynamoDBShard, writes: Sequence[Write]) -> list[Outcome]:
    """Apply writes that belong to one shard, in order, in one transaction.

    Returns:
        One outcome per write.

    Raises:
        StaleDefinition: nothing was written; refresh the catalog and try again.
        TooMuch: nothing was written; they do not fit into one transaction.
        ShardUnavailable: nothing was written; the server does not answer.
        WriteOutcomeUnknown: the connection was lost and the outcome of its commit is not known.
    """
    places = sorted({(write.table.id, write.row) for write in writes})
    with row_mutexes_of(shard).held(places) as since:
        return retry(
            lambda: _attempt(cluster, shard, writes, places),
            patience=shard.timeout,
            mends=(Contention, DuplicateKey, LostConnection),
            since=since,
        )


def commit_together(
    cluster: Cluster, shard: DynamoDBShard, writes: Sequence[Write]
) -> list[Outcome]:
    """As `commit`, for writes of several callers: without patience, which one of them would
    have at the others' expense.

    Raises:
        WriteOutcomeUnknown: see `commit`.
        MynamoError: nothing was written; each may try alone.
    """
    places = sorted({(write.table.id, write.row) for write in writes})
    return retry(
        lambda: _attempt(cluster, shard, writes, places), patience=0.1, mends=(DuplicateKey,)
    )


def _attempt(
    cluster: Cluster, shard: DynamoDBShard, writes: Sequence[Write], places: Sequence[LockedRow]
) -> list[Outcome]:
    with shard.session() as session:
        rows, seen_commands = _lock(session, writes, places)  # steps 1 and 2
        crash_point("writer.1")
        plan = evaluate(writes, rows, seen_commands)  # step 3
        if not plan.events and not plan.commands:
            session.rollback()
            return plan.outcomes
        write_id = os.urandom(16)
        if plan.size > MAX_BYTES and len(writes) > 1:
            session.rollback()
            raise TooMuch
        statements, outbox_at = statements_of(list(rows.values()), plan, write_id)
        identity, after, sent_at = session.identity, session.highest_id, time.monotonic()
        crash_point("writer.3")
        try:
            results = session.run(*statements)  # step 4
        except LostConnection as failure:
            lost = failure
        else:
            crash_point("writer.4")
            wake_up(cluster.id, relay_wake_ups(shard.id))
            first_id = results[outbox_at].insert_id if plan.events else 0
            if first_id:
                session.note_id(first_id)
            return with_versions(plan.outcomes, first_id)
    # The dead connection is given back first: finding out needs another one.
    committed_id = outcome_of_commit(shard, identity, write_id, after, sent_at)
    if committed_id is None:
        raise lost
    return with_versions(plan.outcomes, committed_id)


def _lock(
    session: Session, writes: Sequence[Write], places: Sequence[LockedRow]
) -> tuple[dict[tuple[int, RowKey], Row], dict[bytes, Outcome]]:
    tables = dict(sorted({write.table.id: write.table for write in writes}.items()))
    commands = [write.request.command_id for write in writes if write.request.command_id]
    statements = lock_statements(tables, places, commands)
    ask = time.monotonic() - session.highest_id_at > IDS_KEEP
    if ask:
        statements.insert(0, HIGHEST_ID)
    try:
        results = session.run(*statements)
    except MissingTable:
        raise StaleDefinition(set(tables)) from None
    if ask:
        session.note_id(results.pop(0).rows[0][0])
    check_guards(writes, dict(results[1].rows))
    found = {
        (table_id, RowKey(*key)): Current(load_item(data), version)
        for table_id, result in zip(tables, results[2:], strict=False)
        for *key, version, data in result.rows
    }
    rows = {}
    for place in places:
        current = found.get(place, _NOTHING)
        rows[place] = Row(tables[place[0]], place[1], current, current)
    return rows, remembered_outcomes(results[-1]) if commands else {}


def check_guards(writes: Sequence[Write], found: dict[int, int]) -> None:
    """Raises StaleDefinition if a write knows another definition, or other slots, than the guards.

    Each write is compared by itself: those of one batch may know different definitions of a table.
    """
    epoch = found.get(0)
    outdated: set[int] = set()
    moved = False
    for write in writes:
        if found.get(write.table.id) != write.table.version:
            outdated.add(write.table.id)
        moved = moved or write.route.epoch != epoch
    if outdated or moved:
        raise StaleDefinition(outdated)


def remembered_outcomes(result: Result) -> dict[bytes, Outcome]:
    """The outcomes of queued writes that the shard has decided before, by command id."""
    return {
        command_id: Refused(ConditionFailed(refused.decode("utf-8", "replace")), repeated=True)
        if refused is not None
        else Done(version or 0, repeated=True)
        for command_id, version, refused in result.rows
    }
