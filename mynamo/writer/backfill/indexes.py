"""Backfilling a new index with the items that were there before it, a chunk at a time."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, replace

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster, Owner, RangeStopped
from mynamo.catalog.shard import DynamoDBShard, retry
from mynamo.catalog.slot_guard import LOCK_EPOCH, by_newest_slots, check_epoch, epoch_in
from mynamo.catalog.snapshot import Snapshot
from mynamo.catalog.tables import Index, Table
from mynamo.mysql.failures import MissingTable, StatementRefused
from mynamo.mysql.pool import Session, Statement
from mynamo.runtime.crash_points import crash_point
from mynamo.runtime.local_wakeups import relay_wake_ups, wake_up
from mynamo.schemas.items import load_item
from mynamo.writer.backfill.chunks import Chunk, Position, read_chunk
from mynamo.writer.backfill.global_index import COMMIT, OUTBOX_END, rows_of, write_rows
from mynamo.writer.backfill.re_emit import re_emitted_event
from mynamo.writer.backfill.read_ahead import ReadAhead
from mynamo.writer.transaction.evaluation import OutboxRow
from mynamo.writer.transaction.statements import insert_local, insert_outbox

log = logging.getLogger(__name__)

CHUNK_ROWS = 1_000
BESIDE_MOVES_ROWS = 250
"""While slots move."""
LOCKED_ROWS = 200
"""Of a chunk whose items are locked while it is backfilled, so that writes to them wait."""
_STATEMENT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChunkDone:
    """The result of a chunk.

    Attributes:
        more: whether there are more items to put into the index.
        end: up to where the items are in it, as far as this call knows.
        others: whether somebody else has done it meanwhile; then this call did nothing.
        rows: items that it had.
    """

    more: bool
    end: Position = (None, None)
    others: bool = False
    rows: int = 0


_DONE = ChunkDone(more=False)


def backfill_chunk(
    cluster: Cluster,
    shard: DynamoDBShard,
    index: Index,
    rows: int | None = None,
    left_at: Position | None = None,
    ahead: ReadAhead | None = None,
) -> ChunkDone:
    """Put the next items of one shard into an index that is CREATING.

    Any number of processes may do so at the same time; they work alternately.

    Args:
        rows: not more than so many; by default `CHUNK_ROWS`.
        left_at: do nothing if the backfill has another position by now.
        ahead: may have read this chunk, and reads the next one.

    Raises:
        ShardUnavailable: a shard does not answer; call again.
        CorruptData: an item cannot be read (`mynamo verify` names it).
    """
    table = cluster.table_by_id(index.table_id)
    if table is None:
        return _DONE

    def once(by_events: bool = False) -> ChunkDone:
        snapshot = cluster.snapshot
        slots = cluster.owner_of_all(shard, snapshot), snapshot
        most = _most_rows(slots, CHUNK_ROWS if rows is None else rows)
        with shard.session() as session:
            chunk = begin_chunk(session, slots, table, index, most, left_at, by_events, ahead)
            if isinstance(chunk, ChunkDone):
                return chunk
            if index.is_local:
                _backfill_local(session, index, chunk)
            elif by_events:
                _backfill_by_events(cluster, session, table, index, chunk)
            else:
                if ahead is not None and not chunk.last:
                    ahead.begin(snapshot, table, chunk.end, most)
                found = rows_of(index, chunk) if chunk.index_rows is None else chunk.index_rows
                note = _note(index, chunk, len(found))
                write_rows(cluster, snapshot, shard, session, table, chunk, found, note)
            return ChunkDone(not chunk.last, chunk.end, rows=len(chunk.rows))

    try:
        return by_newest_slots(cluster, lambda: retry(once))
    except MissingTable:  # dropped in the meantime
        return _DONE
    except StatementRefused as refusal:
        if index.is_local:
            raise
        log.warning(
            "index %s: a row is refused, so its chunk is backfilled by events: %s",
            index.name,
            refusal,
        )
    done = by_newest_slots(cluster, lambda: retry(lambda: once(by_events=True)))
    wake_up(cluster.id, relay_wake_ups(shard.id))
    return done


def _most_rows(slots: tuple[Owner, Snapshot], rows: int) -> int:
    """Rows of a chunk: few while slots move, as a chunk holds the slot guard.

    Raises:
        RangeStopped: slots come to the shard or leave it at this moment; a chunk must neither pass
            over them nor hold them up.
    """
    owner, snapshot = slots
    for move in snapshot.open_moves:
        if move.stops_writes and owner.shard.id in (move.source, move.target):
            raise RangeStopped(owner.shard, move, snapshot)
    return min(rows, BESIDE_MOVES_ROWS) if snapshot.open_moves else rows


def begin_chunk(
    session: Session,
    slots: tuple[Owner, Snapshot],
    table: Table,
    index: Index,
    rows: int,
    left_at: Position | None,
    by_events: bool,
    ahead: ReadAhead | None = None,
) -> Chunk | ChunkDone:
    """Steps 1 and 2 of `global_index`; an LSI's items, or those to be re-emitted, are locked.

    Args:
        slots: the session's shard, and the slot map.

    Raises:
        SlotsMoved: the slot map is another one by now.
    """
    owner, snapshot = slots
    _, guard, state = session.run(
        ("BEGIN", ()),
        LOCK_EPOCH,
        ("SELECT after_hash, after_sort FROM mynamo_backfill"
         " WHERE index_id = %s AND finished = 0 FOR UPDATE", (index.id,)),
    )  # fmt: skip
    check_epoch(epoch_in(guard), owner)
    if not state.rows:
        session.rollback()
        return _DONE
    at: Position = state.rows[0]
    if left_at not in (None, at):
        session.rollback()
        return ChunkDone(more=True, end=at, others=True)
    crash_point("fill.1")
    lock = by_events or index.is_local
    chunk = None if lock or ahead is None else ahead.take(snapshot, at, rows)
    if chunk is None:
        chunk = read_chunk(session, table, at, min(rows, LOCKED_ROWS) if lock else rows, lock)
    crash_point("fill.2")
    shard_ids = snapshot.shard_ids
    own = [row for row in chunk.rows if shard_ids[row.key.slot] == owner.shard.id]
    return chunk if len(own) == len(chunk.rows) else replace(chunk, rows=own, index_rows=None)


def _note(index: Index, chunk: Chunk, fit: int) -> Statement:
    """How far it has come; for a GSI, `OUTBOX_END` has been run. An LSI waits for no event."""
    end = "@outbox_end" if index.kind == "GSI" else "0"
    return (
        "UPDATE mynamo_backfill SET after_hash = %s, after_sort = %s,"
        " rows_done = rows_done + %s, rows_skipped = rows_skipped + %s,"
        f" last_outbox_id = GREATEST(last_outbox_id, {end}), finished = %s"
        " WHERE index_id = %s",
        (*chunk.end, fit, len(chunk.rows) - fit, int(chunk.last), index.id),
    )


def _backfill_local(session: Session, index: Index, chunk: Chunk) -> None:
    """Insert the items' rows into an LSI beside them, under the items' locks."""
    rows = []
    for key, _, data in chunk.rows:
        index_key = index.key_of(load_item(data))
        if index_key is not None:
            rows.append((key.hash, index_key.sort, key.sort))
    inserts = [insert_local(index, rows)] if rows else []
    session.run(*inserts, _note(index, chunk, len(rows)), COMMIT)


def _backfill_by_events(
    cluster: Cluster, session: Session, table: Table, index: Index, chunk: Chunk
) -> None:
    """Re-emit the items, under their locks: the indexer finds the row that a server refuses, and
    makes a dead letter of its event."""
    events = []
    for key, version, data in chunk.rows:
        item = load_item(data)
        if index.key_of(item) is not None:
            events.append(
                re_emitted_event(cluster, table, key, item, None, version, "backfill", index)
            )
    _insert_events(session, events)
    session.run(OUTBOX_END, _note(index, chunk, len(events)), COMMIT)


def _insert_events(session: Session, events: list[OutboxRow]) -> None:
    """Insert in statements of a bounded size."""
    start = size = 0
    write_id = uuid.uuid4().bytes
    for position, event in enumerate(events):
        size += len(event.payload)
        if size >= _STATEMENT_BYTES or position == len(events) - 1:
            session.run(insert_outbox(events[start : position + 1], write_id))
            start, size = position + 1, 0


def activate_if_backfilled(cluster: Cluster, index: Index) -> bool:
    """Make an index ACTIVE once every shard's items are in it, and all that was committed by
    then is applied.

    Returns:
        Whether it is ACTIVE now.

    Raises:
        ShardNotConfigured: a member may not have its items in it.
    """
    cluster.check_complete()
    for shard in cluster.shards.values():
        rows = shard.run(
            ("SELECT EXISTS (SELECT 1 FROM mynamo_outbox o"
             " JOIN mynamo_stream s ON s.part = o.part WHERE o.id <= b.last_outbox_id"
             " AND o.table_id = b.table_id AND o.feeds = 1"
             f" AND {sql.NOT_APPLIED})"
             " FROM mynamo_backfill b WHERE b.index_id = %s AND b.finished = 1", (index.id,))
        )[0].rows  # fmt: skip
        if rows != ((0,),):
            return False
    cluster.catalog.activate_index(index.id)
    cluster.refresh()
    return True
