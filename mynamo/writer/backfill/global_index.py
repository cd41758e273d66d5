"""Backfilling a GSI: items of one shard become rows of the index, beside writes and the indexers.

The steps of a chunk, on the source shard (whose items they are) and the target shards (where the
index rows lie). `backfill` takes 1 and 2; a crash before step 6 leaves nothing behind.

1.  Source: BEGIN; lock the slot guard shared, and the row of this backfill. Who comes second waits
    here, and so does a move of slots.
2.  Source: read the next items, without locks, and leave out those whose slots others own. This
    may be done ahead of step 1, while the chunk before is written (`read_ahead`): what has changed
    since is left out in step 4, and no slots have moved if step 1 finds the guard of the same map.
3.  Targets, in ascending order: BEGIN; lock the slot guard shared, and the checkpoints of the
    items' streams. From here on nobody applies an event of these items there. A worker that
    freezes loses this lock only together with the rows that it has written.
4.  Source: read the items' versions again, and leave out what has changed or gone: its event
    knows the index, and brings it there. What has not changed has no event beyond its version,
    so none that could have been applied. Then note how far this chunk comes, and the end of the
    outbox. That is a write: it fails if step 1's transaction is over, so that another worker may
    be at work, or if the server is no primary any more.
5.  Targets: write the rows.
6.  Targets: COMMIT. A crash between two of them, or before step 7: the chunk is done again, and
    the same rows are written once more, if they have not changed.
7.  Source: COMMIT, with the rows of step 5 that lie on the source shard itself.

Events that were committed before step 4 may be applied later than these rows are written. They
take a row back to an older version, and then forward again to that of its item. So the index is
not ACTIVE before all events up to the noted end of the outbox are applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack

from mynamo.catalog.cluster import Cluster, Owner
from mynamo.catalog.gsi_rows import GsiRow, RowChange, Stream, hold_checkpoints, upsert_rows
from mynamo.catalog.move_log import log_gsi_rows
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.snapshot import SlotMove, Snapshot
from mynamo.catalog.tables import Index, RowKey, Table
from mynamo.mysql.pool import Session, Statement
from mynamo.runtime.crash_points import crash_point
from mynamo.schemas.items import dump_item, load_item
from mynamo.writer.backfill.chunks import Chunk, versions_of

_STATEMENT_ROWS = 500
_MOST_THREADS = 16
OUTBOX_END: Statement = ("SELECT COALESCE(MAX(id), 0) INTO @outbox_end FROM mynamo_outbox", ())
"""All that is committed by now has no larger id. Ids are not given in the order of commits, so it
counts only what was committed before this is read."""
BEGIN: Statement = ("BEGIN", ())
COMMIT: Statement = ("COMMIT", ())


def rows_of(index: Index, chunk: Chunk) -> list[RowChange]:
    """The index rows of a chunk's items, without those that are not fit for the index.

    Raises:
        CorruptData: an item cannot be read.
    """
    whole = index.projection.type == "ALL"
    rows = []
    for key, version, data in chunk.rows:
        item = load_item(data)
        index_key = index.key_of(item)
        if index_key is not None:
            shown = data if whole else dump_item(index.project(item))
            rows.append(RowChange(index, GsiRow.of(index_key, key), version, shown))
    return rows


def write_rows(
    cluster: Cluster,
    snapshot: Snapshot,
    source: DynamoDBShard,
    session: Session,
    table: Table,
    chunk: Chunk,
    rows: Sequence[RowChange],
    note: Statement,
) -> None:
    """Steps 3 to 7.

    Args:
        snapshot: the slot map, which routes the rows.
        session: of the source shard, in the transaction of step 1.
        rows: the index rows of the chunk.
        note: says how far the backfill has come; it may use `@outbox_end`.

    Raises:
        Contention, LostConnection: try again from step 1.
        MissingTable: the index or its table was dropped.
        StatementRefused: a server does not take a row.
        SlotsMoved: the slot map has changed; read it and try again from step 1.
        ShardUnavailable: a shard does not answer.
    """
    parts, owners = _by_target(cluster, snapshot, rows)
    with ExitStack() as stack:
        # 3. One after the other, in the order in which every worker locks them.
        targets: dict[int, Session] = {}
        for target in sorted(parts):
            streams = _streams(cluster, source, table, parts[target])
            if target == source.id:
                targets[target] = session
                hold_checkpoints(session, streams, owner=owners[target])
            else:
                targets[target] = stack.enter_context(cluster.shards[target].session())
                hold_checkpoints(targets[target], streams, BEGIN, owner=owners[target])
        crash_point("fill.3")
        # 4.
        now = current_versions(session, table, chunk, note)
        crash_point("fill.4")
        # 5 and 6.
        own = _unchanged(parts.pop(source.id, ()), now)
        others = [
            (targets[target], _unchanged(part, now), owners[target].logs)
            for target, part in parts.items()
        ]
        with ThreadPoolExecutor(max(1, min(len(others), _MOST_THREADS))) as pool:
            working = [pool.submit(_write_and_commit, *each) for each in others]
            _write(session, own, owners[source.id].logs if own else ())
            wait(working)
        for each in working:
            each.result()
    crash_point("fill.6")
    # 7.
    session.run(COMMIT)
    crash_point("fill.7")


def _by_target(
    cluster: Cluster, snapshot: Snapshot, rows: Sequence[RowChange]
) -> tuple[dict[int, list[RowChange]], dict[int, Owner]]:
    """Index rows by the number of the shard that they go to, and these shards.

    Raises:
        RangeStopped: the slot of one is closed.
    """
    parts: dict[int, list[RowChange]] = {}
    owners: dict[int, Owner] = {}
    for row in rows:
        owner = cluster.owner_of(row.row.index_hash, snapshot)
        target = owner.shard.id
        owners[target] = owners.get(target, owner).and_of(owner)
        parts.setdefault(target, []).append(row)
    return parts, owners


def _streams(
    cluster: Cluster, source: DynamoDBShard, table: Table, rows: Sequence[RowChange]
) -> list[Stream]:
    """Of the events of some rows' items."""
    slots = {RowKey(row.row.hash, row.row.sort).slot for row in rows}
    return sorted({Stream(source.id, cluster.partition_of(table.id, slot)) for slot in slots})


def current_versions(
    session: Session, table: Table, chunk: Chunk, note: Statement
) -> Mapping[RowKey, int]:
    """Step 4: the versions that a chunk's items have now; notes the progress as well."""
    if chunk.end[0] is None:
        session.run(OUTBOX_END, note)
        return {}
    there, *_ = session.run(versions_of(table, chunk), OUTBOX_END, note)
    return {RowKey(h, s): version for h, s, version in there.rows}


def _unchanged(rows: Sequence[RowChange], now: Mapping[RowKey, int]) -> list[RowChange]:
    return [row for row in rows if is_current(row, now)]


def is_current(row: RowChange, now: Mapping[RowKey, int]) -> bool:
    """Whether an index row still shows the version that its item has."""
    return now.get(RowKey(row.row.hash, row.row.sort)) == row.version


def _write_and_commit(
    session: Session, rows: Sequence[RowChange], logs: Sequence[SlotMove]
) -> None:
    _write(session, rows, logs)
    crash_point("fill.5")
    session.run(COMMIT)


def _write(session: Session, rows: Sequence[RowChange], logs: Sequence[SlotMove]) -> None:
    """Write rows in the order of their primary keys, and log those whose slots are moving."""
    ordered = sorted(rows, key=lambda change: change.row)
    if ordered:
        starts = range(0, len(ordered), _STATEMENT_ROWS)
        session.run(
            *(upsert_rows(ordered[at : at + _STATEMENT_ROWS]) for at in starts),
            *log_gsi_rows(ordered, logs),
        )
