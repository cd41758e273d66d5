"""Mending one finding, so that a write which happens meanwhile is never undone.

Whatever is done is done under the lock of the item's main row:

*   A GSI row that is missing or stale, and a ghost that its own content leads to, are
    mended by an event that states the item again. It has its place among the item's other
    changes, and the indexer applies it as it applies those.
*   A ghost that no event leads to (it lies on a shard that does not own it, or under a key
    that is not its content's) is deleted where it lies. The lock is held until that is
    committed, and under it the item was seen not to have this row. Earlier events that are
    still on their way end in the same state, and later ones come later.
*   A row of an LSI is mended in the transaction that holds the lock.

Each way of mending says in a few words what it did.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard, retry
from mynamo.catalog.tables import RowKey, Table
from mynamo.mysql.failures import Contention, DuplicateKey
from mynamo.mysql.pool import Session
from mynamo.operations import comparison_statements
from mynamo.operations.comparison_statements import IndexRow
from mynamo.operations.expected_rows import Place, expected_row, only, read_ghost, read_item
from mynamo.operations.findings import Finding
from mynamo.schemas.values import StoredItem
from mynamo.writer.backfill.re_emit import re_emit
from mynamo.writer.transaction.statements import delete_local, insert_local

_deleting = threading.Lock()
"""One thread at a time holds connections to two shards, so that none waits in a circle."""


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
    if finding.index.kind == "LSI":
        where = cluster.shards[finding.index_shard]
        return retry(lambda: _mend_local(table, finding, where))
    shard = cluster.shard_of(finding.row.hash)
    if finding.kind == "ghost":
        return _mend_ghost(cluster, table, finding, shard)
    re_emit(cluster, shard, table, finding.index, finding.row)
    return RE_EMITTED


def plan(finding: Finding) -> str:
    """What `mend` would do, for a person."""
    if finding.index.kind == "LSI":
        return "insert the row" if finding.kind == "missing" else "delete the row"
    if finding.kind == "ghost":
        return "state the item again, or delete the row if no event leads to it"
    return "state the item again, for the indexers to apply"


RE_EMITTED = "stated the item again, for the indexers"
DELETED = "deleted the row"
INSERTED = "inserted the row"
NOTHING = "nothing: it was right by then"


def is_wrong(shard: DynamoDBShard, table: Table, finding: Finding) -> bool:
    """Whether a finding in an LSI is still one.

    Raises:
        ShardUnavailable, MissingTable: see `mend`.
    """
    place = (finding.row.hash, finding.index_key.sort, finding.row.sort)

    def once() -> bool:
        with shard.session() as session:
            *_, items, rows, _ = session.run(
                *comparison_statements.SNAPSHOT,
                comparison_statements.items_of(table, [finding.row]),
                comparison_statements.local_rows_of(finding.index, [place]),
                ("COMMIT", ()),
            )
        item = read_item(table, finding.row, items.rows[0][3]) if items.rows else None
        key = finding.index.key_of(item)
        return (key is not None and key.sort == finding.index_key.sort) != bool(rows.rows)

    return retry(once)


def _mend_ghost(cluster: Cluster, table: Table, finding: Finding, shard: DynamoDBShard) -> str:
    row = IndexRow(*finding.index_key, *finding.row)
    where = cluster.shards[finding.index_shard]
    found = only(where, comparison_statements.global_rows_of(finding.index, [row]))
    if found is None:
        return NOTHING
    ghost = read_ghost(table, finding.index, row, found.item)
    if ghost is not None and cluster.shard_of(row.index_hash) is where:
        re_emit(cluster, shard, table, finding.index, finding.row, ghost)
        return RE_EMITTED
    delete = comparison_statements.delete_global(finding.index, row, found.version, found.item)

    def once() -> str:
        with lock_item_row(shard, table, finding.row) as (session, locked):
            if not locked.readable:
                return NOTHING
            expected = expected_row(cluster, finding.index, locked.item, locked.version)
            if expected is not None and expected.place == Place(where.id, finding.index_key):
                return NOTHING
            if where is shard:
                session.run(delete)
            else:
                with where.session() as other:
                    other.run(delete)
        return DELETED

    with _deleting:
        return retry(once)


def _mend_local(table: Table, finding: Finding, shard: DynamoDBShard) -> str:
    with lock_item_row(shard, table, finding.row) as (session, locked):
        if not locked.readable:
            return NOTHING
        key = finding.index.key_of(locked.item)
        place = (finding.row.hash, finding.index_key.sort, finding.row.sort)
        if key is not None and key.sort == finding.index_key.sort:
            session.run(insert_local(finding.index, [place]))
            return INSERTED
        session.run(delete_local(finding.index, [place]))
        return DELETED


@contextmanager
def lock_item_row(
    shard: DynamoDBShard, table: Table, row: RowKey
) -> Iterator[tuple[Session, LockedItem]]:
    """A transaction in which an item, or its absence, cannot change; commits at the end."""
    with shard.session() as session:
        found = session.run(("BEGIN", ()), comparison_statements.lock_item(table, row))[1].rows
        if found:
            version, data = found[0]
            item = read_item(table, row, data)
            locked = LockedItem(item is not None, item, version)
        else:
            locked = LockedItem(True, None, 0)
            try:
                session.run(comparison_statements.hold_place(table, row))
            except DuplicateKey as faster:
                raise Contention(str(faster)) from None
        yield session, locked
        if not found:
            session.run(comparison_statements.leave_place(table, row))
        session.run(("COMMIT", ()))
