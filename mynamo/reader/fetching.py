"""Reading one page of rows: bounded statements until the page is full or all is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mynamo.reader.access import Access, Position, select
from mynamo.reader.conditions import Comparison
from mynamo.schemas.items import item_size, load_item
from mynamo.schemas.values import StoredItem
from mynamo.shards.failures import MissingTable
from mynamo.shards.pool import Statement
from mynamo.shards.shard import DynamoDBShard

Rows: TypeAlias = tuple[tuple[Any, ...], ...]

PAGE_BYTES = 1024 * 1024
"""A page holds items of at most so many bytes, as DynamoDB counts them, but one at least."""
FIRST_CHUNK = 101
"""Rows that the first statement of a page asks for at most: 100 and the one behind them."""
MAX_CHUNK = 256
"""Rows that any statement asks for at most: a hundred megabytes of the largest items."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A range of rows on one shard.

    Attributes:
        bounds: columns of the access, and what they must be.
    """

    shard: DynamoDBShard
    bounds: tuple[tuple[str, Comparison], ...]


@dataclass(slots=True)
class Fetched:
    """A page of rows.

    Attributes:
        items: in stored form.
        position: of the last one, if there are more behind it.
        shards: numbers of those that were asked.
    """

    items: list[StoredItem] = field(default_factory=list)
    position: Position | None = None
    shards: list[int] = field(default_factory=list)


def fetch(
    access: Access,
    stretches: Iterable[Stretch],
    after: Position | None,
    *,
    view: Callable[[StoredItem], StoredItem],
    descending: bool = False,
    limit: int | None = None,
) -> Fetched:
    """Read a page.

    Args:
        stretches: in the order to read them; `after` lies in or before the first.
        after: the row to go on behind.
        view: the part of an item that this access shows, which the page's size counts.
        limit: items, at most.

    Raises:
        MissingTable: the catalog's knowledge of the table or index is outdated.
        ShardUnavailable: a shard does not answer.
    """
    page = Fetched()
    size = 0
    last: Position | None = None
    for stretch in stretches:
        _note(page.shards, stretch.shard.id)
        reached = after
        while True:
            rows = _chunk_rows(limit, len(page.items), size)
            statement = select(access, stretch.bounds, reached, descending, rows)
            found = _rows(stretch.shard, access, statement)
            for *key, data in found:
                item = view(load_item(data))
                size += item_size(item)
                # This row is only the proof that there are more.
                if page.items and (len(page.items) == limit or size > PAGE_BYTES):
                    page.position = last
                    return page
                page.items.append(item)
                last = reached = tuple(key)
            if len(found) < rows:
                break
        after = None
    return page


def _rows(shard: DynamoDBShard, access: Access, statement: Statement) -> Rows:
    """Run a statement; for an index, see that writes still kept it up at that moment.

    Raises:
        MissingTable: the table's definition is newer than `access` knows.
    """
    if access.index is None:
        return shard.run(statement)[0].rows
    fence = ("SELECT version FROM mynamo_fence WHERE id = %s", (access.table.id,))
    found, version = shard.run(statement, fence)  # the fence last: what it says held before
    if version.rows and version.rows[0][0] > access.table.version:
        raise MissingTable(f"{shard.where}: table {access.table.name} has a newer definition")
    return found.rows


def _chunk_rows(limit: int | None, count: int, size: int) -> int:
    """Rows to ask for: up to the one behind the page's last, judged by the rows so far."""
    rows = MAX_CHUNK if count else FIRST_CHUNK
    if count:
        rows = min(rows, (PAGE_BYTES - size) * count // max(size, 1) + 2)
    if limit is not None:
        rows = min(rows, limit + 1 - count)
    return rows


def _note(shards: list[int], shard_id: int) -> None:
    if shard_id not in shards:
        shards.append(shard_id)
