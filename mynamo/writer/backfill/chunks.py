"""Reading a table's items in the order of their keys, a chunk at a time, for a new index.

An item with an intent is read as it is: if the intent's transaction happens, it makes an event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from mynamo.catalog import sql
from mynamo.catalog.gsi_rows import RowChange
from mynamo.catalog.intents import IS_ITEM, OWN_VERSION, read_items
from mynamo.catalog.tables import RowKey, Table
from mynamo.mysql.pool import Session, Statement

CHUNK_BYTES = 2 * 1024 * 1024
"""Of a chunk's items; it has one item at least."""
_SMALL = 2048
"""Bytes of an item that is read at once; of a larger one its length is read first."""

Position = tuple[bytes | None, bytes | None]
"""Hash and sort key of the last item that was read; None: none yet."""


class MainRow(NamedTuple):
    """An item as it lies in the main table."""

    key: RowKey
    version: int
    item: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some items that follow on a position.

    Attributes:
        start: that position.
        end: the position behind them.
        rows: the items.
        last: whether no more items follow.
        index_rows: of the items, if they have been made already.
    """

    start: Position
    end: Position
    rows: list[MainRow]
    last: bool
    index_rows: list[RowChange] | None = None


def read_chunk(session: Session, table: Table, start: Position, rows: int, lock: bool) -> Chunk:
    """Read the next items, of `CHUNK_BYTES` together at the most.

    Args:
        start: they follow on this one.
        rows: not more than so many.
        lock: lock them against changes until the transaction ends.
    """
    found = session.run(next_rows(table, start, rows, lock))[0].rows
    taken = _fitting([size for *_, size, _ in found])
    some = found[:taken]
    whole = [MainRow(RowKey(h, s), version, item) for h, s, version, _, item in some]
    large = [row.key for row in whole if row.item is None]
    if large:
        read = _read_large(session, table, large)
        whole = [read.get(row.key, row) for row in whole]
        whole = [row for row in whole if row.item is not None]  # others are gone by now
    end = some[-1][:2] if some else start
    return Chunk(start, end, whole, last=len(found) < rows and taken == len(found))


def next_rows(table: Table, start: Position, rows: int, lock: bool) -> Statement:
    """The next rows with the lengths of their items, and the small ones of these."""
    where, values = _after(start)
    return (
        f"SELECT hash, sort, {OWN_VERSION}, OCTET_LENGTH(item),"
        f" IF(OCTET_LENGTH(item) <= {_SMALL:d}, item, NULL)"
        f" FROM {sql.main_table(table.id)} WHERE {where}{IS_ITEM}"
        f" ORDER BY hash, sort LIMIT {rows:d}{' LOCK IN SHARE MODE' if lock else ''}",
        values,
    )


def versions_of(table: Table, chunk: Chunk) -> Statement:
    """The keys and versions of what is now where a chunk was read."""
    where, values = _after(chunk.start)
    return (
        f"SELECT hash, sort, {OWN_VERSION} FROM {sql.main_table(table.id)} FORCE INDEX (PRIMARY)"
        f" WHERE {where}((hash = %s AND sort <= %s) OR hash < %s) AND {IS_ITEM}",
        [*values, *chunk.end, chunk.end[0]],
    )


def _after(start: Position) -> tuple[str, list[Any]]:
    """What holds for the rows behind a position, for other conditions to follow."""
    if start[0] is None:
        return "", []
    return "((hash = %s AND sort > %s) OR hash > %s) AND ", [*start, start[0]]


def _read_large(session: Session, table: Table, keys: list[RowKey]) -> dict[RowKey, MainRow]:
    """Items by their keys, as they are by now."""
    rows = session.run(read_items(table.id, keys))[0].rows
    return {RowKey(h, s): MainRow(RowKey(h, s), version, item) for h, s, version, item in rows}


def _fitting(sizes: list[int]) -> int:
    """How many items fit into one chunk."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if total > CHUNK_BYTES and count:
            return count
    return len(sizes)
