"""Mending one finding. A concurrent write is never undone.

Everything is done under the lock of the item's main row:

*   A missing or stale GSI row is mended by re-emitting the item. The event is in order with the
    item's other changes, and the indexer applies it like those. An orphaned row (kind "ghost") is
    mended likewise if an event can lead to it.
*   No event leads to an orphaned row on a shard that does not own it, or under a key that is not
    that of its content. Such a row is deleted. The lock is held until that is committed, and under
    the lock the item was seen not to have this row. Earlier events that are not applied yet end in
    the same state; later events are applied later.
*   A row of an LSI is mended in the transaction that holds the lock.
*   Rows that are hidden because their slots are being moved are left alone. Where a row is deleted
    on a shard that does not own it, the slot's row of `mynamo_move` is locked first, and the
    catalog is read again: a copy that begins later waits for that.

Each function returns in a few words what it did.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mynamo.catalog.catalog import MOVES
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.gsi_rows import GsiRow, RowChange
from mynamo.catalog.move_log import lock_fence, log_gsi_rows
from mynamo.catalog.shard import DynamoDBShard, retry
from mynamo.catalog.slot_guard import (
    LOCK_EPOCH,
    SlotsMoved,
    by_newest_slots,
    check_epoch,
    epoch_in,
)
from mynamo.catalog.snapshot import Snapshot
from mynamo.catalog.tables import RowKey, Table
from mynamo.mysql.failures import Contention, DuplicateKey
from mynamo.mysql.pool import Session, Statement
from mynamo.operations import comparison_statements
from mynamo.operations.comparison_statements import IndexRow
from mynamo.operations.expected_rows import Location, expected_row, only, read_ghost, read_item
from mynamo.operations.findings import Finding
from mynamo.operations.visible_slots import is_newest
from mynamo.schemas.keys import slot_of
from mynamo.schemas.values import StoredItem
from mynamo.writer.backfill.re_emit import re_emit
from mynamo.writer.transaction.statements import delete_local, insert_local

_deleting = threading.Lock()
"""Only one thread at a time holds connections to two shards, so that there is no deadlock."""


@dataclass(frozen=True, slots=True)
class LockedItem:
    """An item that nobody changes now.

    Attributes:
        readable: its bytes are an item with its key, or there is none.
        item: None if there is none.
        version: 0 if there is none.
    """

    readable: bool
    item: StoredItem | None
    version: int


def mend(cluster: Cluster, table: Table, finding: Finding) -> str:
    """Mend one finding, if it still is one; of a GSI, once the indexers have applied it.

    Returns:
        What was done, for a person.

    Raises:
        ShardUnavailable: a shard does not answer; it can be mended later.
        MissingTable: the index was dropped.
    """
    if finding.index.is_local:
        return by_newest_slots(cluster, lambda: retry(lambda: _mend_local(cluster, table, finding)))
    if finding.kind == "ghost":
        return by_newest_slots(cluster, lambda: _mend_ghost(cluster, table, finding))
    re_emit(cluster, table, finding.index, finding.row)
    return RE_EMITTED


def plan(finding: Finding) -> str:
    """What `mend` would do, for a person."""
    if finding.index.is_local:
        return "insert the row" if finding.kind == "missing" else "delete the row"
    if finding.kind == "ghost":
        return "re-emit the item, or delete the row if no event leads to it"
    return "re-emit the item, for the indexers to apply"


RE_EMITTED = "re-emitted the item, for the indexers"
DELETED = "deleted the row"
INSERTED = "inserted the row"
NOTHING = "nothing: it was right by then"


def is_wrong(shard: DynamoDBShard, table: Table, finding: Finding) -> bool:
    """Whether a finding in an LSI is still one.

    Raises:
        ShardUnavailable, MissingTable: see `mend`.
    """
    location = (finding.row.hash, finding.index_key.sort, finding.row.sort)

    def once() -> bool:
        with shard.session() as session:
            *_, items, rows, _ = session.run(
                *comparison_statements.SNAPSHOT,
                comparison_statements.items_of(table, [finding.row]),
                comparison_statements.local_rows_of(finding.index, [location]),
                ("COMMIT", ()),
            )
        item = read_item(table, finding.row, items.rows[0][3]) if items.rows else None
        key = finding.index.key_of(item)
        return (key is not None and key.sort == finding.index_key.sort) != bool(rows.rows)

    return retry(once)


def _mend_ghost(cluster: Cluster, table: Table, finding: Finding) -> str:
    snapshot = cluster.snapshot
    row = IndexRow(*finding.index_key, *finding.row)
    where = cluster.member(finding.index_shard)
    found = only(where, comparison_statements.global_rows_of(finding.index, [row]))
    if found is None:
        return NOTHING
    ghost = read_ghost(table, finding.index, row, found.item)
    slot = slot_of(row.index_hash)
    if snapshot.is_hidden(where.id, slot):
        return NOTHING  # it is on its way there, or has left
    if ghost is not None and cluster.owner_of(row.index_hash, snapshot).shard is where:
        re_emit(cluster, table, finding.index, finding.row, ghost)
        return RE_EMITTED
    delete = comparison_statements.delete_global(finding.index, row, found.version, found.item)
    by, deletes = cluster.owner_of_all(where, snapshot), [delete]
    fence: list[Statement] = []
    if snapshot.shard_ids[slot] == where.id:
        by = cluster.owner_of(row.index_hash, snapshot)
        deletes += log_gsi_rows([RowChange(finding.index, GsiRow(*row), 0, None)], by.logs)
    elif snapshot.format >= MOVES:
        fence = lock_fence(slot)
    shard = cluster.shard_of(finding.row.hash)

    def once() -> str:
        with lock_item_row(cluster, table, finding.row) as (session, locked):
            if not locked.readable:
                return NOTHING
            expected = expected_row(cluster, finding.index, locked.item, locked.version)
            if cluster.snapshot is not snapshot:
                raise SlotsMoved
            if expected is not None and expected.location == Location(where.id, finding.index_key):
                return NOTHING
            if where is shard:
                _delete(cluster, snapshot, session, fence, deletes)
            else:
                with where.session() as other:
                    guard = other.run(("BEGIN", ()), LOCK_EPOCH)[1]
                    check_epoch(epoch_in(guard), by)
                    _delete(cluster, snapshot, other, fence, deletes)
                    other.run(("COMMIT", ()))
        return DELETED

    with _deleting:
        return retry(once)


def _delete(
    cluster: Cluster,
    snapshot: Snapshot,
    session: Session,
    fence: Sequence[Statement],
    deletes: Sequence[Statement],
) -> None:
    """Delete a row in a transaction.

    Args:
        snapshot: by which it may be deleted.
        fence: locks its slot, where the shard does not own it; else nothing.

    Raises:
        SlotsMoved: the catalog is another one.
    """
    if fence:
        session.run(*fence)
        if not is_newest(cluster, snapshot):
            raise SlotsMoved
    session.run(*deletes)


def _mend_local(cluster: Cluster, table: Table, finding: Finding) -> str:
    if cluster.shard_id_of(finding.row.hash) != finding.index_shard:
        return NOTHING  # the item has moved, with rows of its own
    with lock_item_row(cluster, table, finding.row) as (session, locked):
        if not locked.readable:
            return NOTHING
        key = finding.index.key_of(locked.item)
        location = (finding.row.hash, finding.index_key.sort, finding.row.sort)
        if key is not None and key.sort == finding.index_key.sort:
            session.run(insert_local(finding.index, [location]))
            return INSERTED
        session.run(delete_local(finding.index, [location]))
        return DELETED


@contextmanager
def lock_item_row(
    cluster: Cluster, table: Table, row: RowKey
) -> Iterator[tuple[Session, LockedItem]]:
    """A transaction in which an item, or its absence, cannot change; commits at the end.

    Raises:
        SlotsMoved: the slot map has changed.
    """
    route = cluster.route(table.id, row.hash)
    with route.shard.session() as session:
        _, guard, rows = session.run(
            ("BEGIN", ()), LOCK_EPOCH, comparison_statements.lock_item(table, row)
        )
        check_epoch(epoch_in(guard), route)
        found = rows.rows
        locked = LockedItem(True, None, 0)
        if found and found[0][0]:
            version, data = found[0]
            item = read_item(table, row, data)
            locked = LockedItem(item is not None, item, version)
        elif not found:  # the placeholder of an intent, if there is one, has a lock already
            try:
                session.run(comparison_statements.insert_placeholder(table, row))
            except DuplicateKey as faster:
                raise Contention(str(faster)) from None
        yield session, locked
        if not found:
            session.run(comparison_statements.delete_placeholder(table, row))
        session.run(("COMMIT", ()))
