"""Stating items again: filling a new index, and mending one, through the same pipeline.

A restating event says what an item is now. It goes into the outbox under the item's row
lock, so it has its place in the order of the item's changes, and the indexer needs no
second way of applying it.
"""

from __future__ import annotations

import uuid

from mynamo.log.bells import relay_bell, ring
from mynamo.schemas.events import Origin, outbox_payload
from mynamo.schemas.items import load_item
from mynamo.schemas.values import StoredItem
from mynamo.shards import sql
from mynamo.shards.cluster import Cluster
from mynamo.shards.failures import DuplicateKey, MissingTable
from mynamo.shards.filling import Progress as Progress
from mynamo.shards.filling import progress as progress
from mynamo.shards.pool import Session, Statement
from mynamo.shards.shard import DynamoDBShard, retry
from mynamo.shards.tables import Index, RowKey, Table
from mynamo.writer.backlog import unnumbered
from mynamo.writer.outbox import OutboxRow, insert_outbox
from mynamo.writer.statements import insert_local

CHUNK_ROWS = 200
MAX_BACKLOG = 5_000
"""Events that may wait for the indexers before a filling pauses."""
_STATEMENT_BYTES = 4 * 1024 * 1024


def fill_chunk(cluster: Cluster, shard: DynamoDBShard, index: Index) -> bool:
    """Put the next items of one shard into an index that is CREATING.

    Any number of processes may do so at once; they take turns.

    Returns:
        Whether there is more to do right now. False: finished, or the indexers must
        catch up first.
    """
    table = cluster.table_by_id(index.table_id)
    if table is None:
        return False

    def once() -> bool:
        with shard.session() as session:
            return _fill_chunk(cluster, session, table, index)

    try:
        more = retry(once)
    except MissingTable:  # dropped in the meantime
        return False
    ring(cluster.snapshot.cluster_id, relay_bell(shard.id))
    return more


def _fill_chunk(cluster: Cluster, session: Session, table: Table, index: Index) -> bool:
    # 1. The row of this filling serialises those who work on it.
    _, state, behind, unseen = session.run(
        ("BEGIN", ()),
        ("SELECT after_hash, after_sort FROM mynamo_backfill"
         " WHERE index_id = %s AND finished = 0 FOR UPDATE", (index.id,)),
        ("SELECT r.last_seq - COALESCE(MIN(s.applied_seq), r.last_seq) FROM mynamo_relay r"
         " LEFT JOIN mynamo_stream s ON s.applied_seq < s.last_seq GROUP BY r.last_seq", ()),
        unnumbered(MAX_BACKLOG + 1),
    )  # fmt: skip
    backlog = behind.rows[0][0] + unseen.rows[0][0]
    if not state.rows or (index.kind == "GSI" and backlog > MAX_BACKLOG):
        session.rollback()
        return False
    # 2. The items, locked: no change of them can slip between reading and stating them.
    rows = session.run(_next_rows(table, state.rows[0]))[0].rows
    finished = len(rows) < CHUNK_ROWS
    items = [(RowKey(h, s), version, load_item(data)) for h, s, version, data in rows]
    fit = [entry for entry in items if index.key_of(entry[2]) is not None]
    # 3. Their index rows, or the events that lead to them.
    last_id = 0
    if index.kind == "LSI":
        places = [(row.hash, _sort(index, item), row.sort) for row, _, item in fit]
        if places:
            session.run(insert_local(index, places))
    else:
        events = [
            restating_event(cluster, table, row, item, None, version, "backfill", index)
            for row, version, item in fit
        ]
        last_id = _insert_events(session, events)
    # 4. How far it has come, in the same transaction.
    after = rows[-1][:2] if rows else state.rows[0]
    session.run(
        ("UPDATE mynamo_backfill SET after_hash = %s, after_sort = %s,"
         " rows_done = rows_done + %s, rows_skipped = rows_skipped + %s,"
         " last_outbox_id = GREATEST(last_outbox_id, %s), finished = %s WHERE index_id = %s",
         (*after, len(fit), len(items) - len(fit), last_id, finished, index.id)),
        ("COMMIT", ()),
    )  # fmt: skip
    return not finished


def _next_rows(table: Table, after: tuple[bytes | None, bytes | None]) -> Statement:
    select = f"SELECT hash, sort, version, item FROM {sql.main_table(table.id)}"
    order = f" ORDER BY hash, sort LIMIT {CHUNK_ROWS:d} LOCK IN SHARE MODE"
    if after[0] is None:
        return select + order, ()
    where = " WHERE (hash = %s AND sort > %s) OR hash > %s"
    return select + where + order, (after[0], after[1], after[0])


def _sort(index: Index, item: StoredItem) -> bytes:
    key = index.key_of(item)
    return key.sort if key else b""


def _insert_events(session: Session, events: list[OutboxRow]) -> int:
    """Insert in statements of a bounded size; returns the last id."""
    last_id = start = size = 0
    write_id = uuid.uuid4().bytes
    for position, event in enumerate(events):
        size += len(event.payload)
        if size >= _STATEMENT_BYTES or position == len(events) - 1:
            rows = events[start : position + 1]
            last_id = session.run(insert_outbox(rows, write_id))[0].insert_id + len(rows) - 1
            start, size = position + 1, 0
    return last_id


def restating_event(
    cluster: Cluster,
    table: Table,
    row: RowKey,
    item: StoredItem | None,
    ghost: StoredItem | None,
    version: int,
    origin: Origin,
    index: Index,
) -> OutboxRow:
    """The event that makes an index say what the table says of one item.

    Args:
        item: as it is now; None if there is none.
        ghost: what the index wrongly says of it; its row goes.
        version: of the item.
    """
    known = item if item is not None else ghost or {}
    return OutboxRow(
        partition=cluster.partition_of(table.id, row.slot),
        feeds=True,
        table_id=table.id,
        item_version=version,
        payload=outbox_payload(
            table_id=table.id,
            table=table.name,
            schema_version=table.version,
            operation="REMOVE" if item is None else "MODIFY",
            origin=origin,
            index_id=index.id,
            keys=table.key_attributes(known),
            old_image=ghost,
            new_image=item,
        ),
    )


def restate(
    cluster: Cluster,
    shard: DynamoDBShard,
    table: Table,
    index: Index,
    row: RowKey,
    ghost: StoredItem | None = None,
) -> int:
    """Make an index say what the table says of one item, in order with its changes.

    Args:
        shard: which owns the item.
        row: of the item, which may be gone.
        ghost: what the index wrongly holds of it (keys at least), if anything.

    Returns:
        The id of the event's outbox row; 0 if there is nothing to say.
    """

    def once() -> int:
        with shard.session() as session:
            return _restate(cluster, session, table, index, row, ghost)

    outbox_id = retry(once)
    ring(cluster.snapshot.cluster_id, relay_bell(shard.id))
    return outbox_id


def _restate(
    cluster: Cluster,
    session: Session,
    table: Table,
    index: Index,
    row: RowKey,
    ghost: StoredItem | None,
) -> int:
    main = sql.main_table(table.id)
    locked = (f"SELECT version, item FROM {main} WHERE hash = %s AND sort = %s FOR UPDATE", row)
    found = session.run(("BEGIN", ()), locked)[1].rows
    if not found:
        if ghost is None:
            session.rollback()
            return 0
        try:  # a row of its own is the only lock that keeps an absent item absent
            session.run((f"INSERT INTO {main} VALUES (%s, %s, 0, '')", row))
        except DuplicateKey:
            session.rollback()
            return _restate(cluster, session, table, index, row, ghost)
    item = load_item(found[0][1]) if found else None
    version = found[0][0] if found else 0
    event = restating_event(cluster, table, row, item, ghost, version, "repair", index)
    done = session.run(insert_outbox([event], uuid.uuid4().bytes))
    if not found:
        session.run((f"DELETE FROM {main} WHERE hash = %s AND sort = %s", row))
    session.run(("COMMIT", ()))
    return done[0].insert_id


def activate_if_filled(cluster: Cluster, index: Index) -> bool:
    """Make an index ACTIVE once every shard's items are in it.

    Returns:
        Whether it is ACTIVE now.
    """
    for shard in cluster.shards.values():
        rows = shard.run(
            ("SELECT b.finished, (SELECT COUNT(*) FROM mynamo_outbox o"
             " JOIN mynamo_stream s ON s.part = o.part WHERE o.id <= b.last_outbox_id"
             " AND o.table_id = b.table_id AND o.feeds = 1"
             " AND (o.seq IS NULL OR o.seq > s.applied_seq))"
             " FROM mynamo_backfill b WHERE b.index_id = %s", (index.id,))
        )[0].rows  # fmt: skip
        if rows != ((1, 0),):
            return False
    cluster.catalog.activate_index(index.id)
    cluster.refresh()
    return True
