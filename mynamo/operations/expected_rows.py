"""What an item's row in a GSI must be, and rows as they are stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Index, IndexKey, RowKey, Table
from mynamo.errors import CorruptData, InvalidItem
from mynamo.mysql.pool import Statement
from mynamo.operations.comparison_statements import IndexRow
from mynamo.operations.findings import shown
from mynamo.schemas.items import dump_item, load_item
from mynamo.schemas.values import StoredItem


class Location(NamedTuple):
    """Where a row of a GSI lies."""

    shard: int
    key: IndexKey

    def of(self, row: RowKey) -> IndexRow:
        """The primary key there of an item's row."""
        return IndexRow(*self.key, *row)


class Stored(NamedTuple):
    """A row's content. Items are canonical, so equal items are equal bytes."""

    version: int
    item: bytes


class Expected(NamedTuple):
    """The row that an item must have in a GSI."""

    location: Location
    content: Stored
    item: StoredItem


def expected_row(
    cluster: Cluster, index: Index, item: StoredItem | None, version: int
) -> Expected | None:
    """The row that an item must have in a GSI; None if it must have none.

    Args:
        item: None if there is none.
        version: of the item.
    """
    key = index.key_of(item)
    if item is None or key is None:
        return None
    location = Location(cluster.shard_id_of(key.hash), key)
    return Expected(location, Stored(version, dump_item(index.project(item))), item)


def read_item(table: Table, row: RowKey, data: bytes) -> StoredItem | None:
    """The item of a main row; None if the bytes are not those of an item with this key."""
    try:
        item = load_item(data)
        return item if table.key_of(item) == row else None
    except (CorruptData, InvalidItem):
        return None


def read_claim(table: Table, data: bytes) -> str | None:
    """The key that bytes claim to be an item of, for a person; None if they claim none."""
    try:
        item = load_item(data)
        table.key_of(item)
    except (CorruptData, InvalidItem):
        return None
    return shown(table.key_attributes(item))


def read_ghost(table: Table, index: Index, row: IndexRow, data: bytes) -> StoredItem | None:
    """The item of a GSI row; None if the bytes do not lead to this row."""
    item = read_item(table, row.item, data)
    return item if index.key_of(item) == row.key else None


def only(shard: DynamoDBShard, statement: Statement) -> Stored | None:
    """The one row that a statement selects, if it exists; version and item come last."""
    rows = shard.run(statement)[0].rows
    return Stored(*rows[0][-2:]) if rows else None


def by_shard(cluster: Cluster, rows: Iterable[RowKey]) -> dict[DynamoDBShard, list[RowKey]]:
    """Items by the shard that owns them, in the order of their keys."""
    groups: dict[DynamoDBShard, list[RowKey]] = {}
    for row in sorted(set(rows)):
        groups.setdefault(cluster.member(cluster.shard_id_of(row.hash)), []).append(row)
    return groups
