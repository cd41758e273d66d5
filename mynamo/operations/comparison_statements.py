"""The SQL of verify and repair: one function for each statement, with the reason.

Scans go along a primary key from the last row seen to the end of a span; look-ups name whole
primary keys. A chunk of either is bounded in rows and in bytes: items of 400 KB exist.

Items with an intent are seen as they are without it, and placeholders of intents are not seen,
but for the statements that say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from mynamo.catalog import sql
from mynamo.catalog.intents import IS_ITEM, OWN_VERSION
from mynamo.catalog.tables import Index, IndexKey, RowKey, Table
from mynamo.mysql.pool import Statement
from mynamo.operations.checksums import digest_columns

CHUNK_ROWS = 500
CHUNK_BYTES = 4 * 1024 * 1024
"""Of items in one chunk; a single item may be larger, and is then a chunk of its own."""

ITEM_ORDER = ("hash", "sort")
LOCAL_ORDER = ("hash", "index_sort", "sort")
GLOBAL_ORDER = ("index_hash", "index_sort", "hash", "sort")


def index_order(index: Index) -> tuple[str, ...]:
    """The primary key of an index."""
    return LOCAL_ORDER if index.is_local else GLOBAL_ORDER


Values = Sequence[Any]


class IndexRow(NamedTuple):
    """The primary key of a row of a GSI."""

    index_hash: bytes
    index_sort: bytes
    hash: bytes
    sort: bytes

    @property
    def key(self) -> IndexKey:
        """Where in the index it lies."""
        return IndexKey(self.index_hash, self.index_sort)

    @property
    def item(self) -> RowKey:
        """The item that it speaks of."""
        return RowKey(self.hash, self.sort)


SNAPSHOT: tuple[Statement, ...] = (
    ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", ()),
    ("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", ()),
)
"""Everything up to the COMMIT sees the shard as it is now."""


class Span(NamedTuple):
    """A part of a table, by the first column of its primary key, which is a hash.

    Attributes:
        low, high: hashes that bound it; `high` is not in it, and None is the end.
        after: the primary key of the last row that was seen of it, if any was.
    """

    low: bytes
    high: bytes | None
    after: tuple[bytes, ...] | None = None

    def beyond(self, after: tuple[bytes, ...]) -> Span:
        """What is left of it behind a row."""
        return self._replace(after=after)


def item_bytes(table: Table, span: Span) -> Statement:
    """How many rows of `items` are next, and their bytes: whether they make one chunk."""
    name, values = _scan_items("LENGTH(item) AS size", table, span)
    return f"SELECT COUNT(*), COALESCE(SUM(size), 0) FROM ({name}) chunk", values


def item_sizes(table: Table, span: Span) -> Statement:
    """The sizes of the next rows of `items`: how many of them fit into a chunk."""
    return _scan_items("hash, sort, LENGTH(item)", table, span)


def items(table: Table, span: Span, rows: int) -> Statement:
    """The next items, with their marks, and placeholders."""
    return _scan_items("hash, sort, version, item", table, span, rows)


def intents_on_rows(table: Table, span: Span, last: Values | None) -> Statement:
    """The intents on the rows of a span, whether there are such rows or not.

    Args:
        last: row of the span to look at; None: up to its end.
    """
    where, values = within(ITEM_ORDER, span)
    if last is not None:
        where.append("(hash < %s OR (hash = %s AND sort <= %s))")
        values += (last[0], *last)
    conditions = " AND ".join(["table_id = %s", *where])
    return (
        "SELECT hash, sort, transaction_id FROM mynamo_intent FORCE INDEX (PRIMARY)"
        f" WHERE {conditions}",
        (table.id, *values),
    )


def whole_row(table: Table, row: RowKey, lock: bool = False) -> Statement:
    """An item, with its mark, or a placeholder.

    Args:
        lock: nobody may change it until the transaction ends.
    """
    return (
        f"SELECT version, item FROM {sql.main_table(table.id)} FORCE INDEX (PRIMARY)"
        f" WHERE hash = %s AND sort = %s{' FOR UPDATE' if lock else ''}",
        row,
    )


def index_digests(index: Index, shard_id: int, span: Span, rows: int) -> Statement:
    """The digests of an index's next rows; see `checksums`."""
    columns, order = digest_columns(index, shard_id), index_order(index)
    return _scan(columns, sql.index_table(index), order, span, rows)


def index_row_at(index: Index, span: Span, rows: int) -> Statement:
    """The primary key of the last of so many rows of an index; nothing if it has fewer."""
    order = index_order(index)
    text, values = _scan(", ".join(order), sql.index_table(index), order, span, 1)
    return f"{text} OFFSET {rows - 1:d}", values


def local_row_sizes(index: Index, span: Span) -> Statement:
    """The sizes of the items that the next rows of an LSI stand for; NULL: there is none."""
    return _scan("l.hash, l.index_sort, l.sort, LENGTH(m.item)", *_beside_items(index), span)


def local_rows(index: Index, span: Span, rows: int) -> Statement:
    """The next rows of an LSI, each with its item; NULL: there is none."""
    return _scan("l.hash, l.index_sort, l.sort, m.item", *_beside_items(index), span, rows)


def global_rows(index: Index, span: Span) -> Statement:
    """The next rows of a GSI, without their items: what they stand for decides."""
    columns = "index_hash, index_sort, hash, sort, version"
    return _scan(columns, sql.index_table(index), GLOBAL_ORDER, span)


def item_sizes_of(table: Table, keys: Iterable[Values]) -> Statement:
    """The sizes of certain items."""
    return _look_up_items("hash, sort, LENGTH(item)", table, keys)


def items_of(table: Table, keys: Iterable[Values]) -> Statement:
    """Certain items."""
    return _look_up_items(f"hash, sort, {OWN_VERSION}, item", table, keys)


def versions_of(table: Table, keys: Iterable[Values]) -> Statement:
    """The versions of certain items."""
    return _look_up_items(f"hash, sort, {OWN_VERSION}", table, keys)


def local_rows_of(index: Index, keys: Iterable[Values]) -> Statement:
    """Which of certain rows an LSI has."""
    return _look_up("hash, index_sort, sort", sql.index_table(index), LOCAL_ORDER, keys)


def global_rows_of(index: Index, keys: Iterable[Values]) -> Statement:
    """Certain rows of a GSI."""
    columns = "index_hash, index_sort, hash, sort, version, item"
    return _look_up(columns, sql.index_table(index), GLOBAL_ORDER, keys)


def event_of(version: int) -> Statement:
    """The event of a change of a short while ago."""
    return (
        "SELECT seq, part, payload FROM mynamo_outbox"
        " WHERE id = %s AND item_version IS NULL AND seq > 0",
        (version,),
    )


def checkpoint(shard_id: int, partition: int) -> Statement:
    """Up to which event of a stream the GSI tables of a shard contain what is theirs."""
    return (
        "SELECT seq FROM mynamo_checkpoint WHERE shard = %s AND part = %s",
        (shard_id, partition),
    )


def last_event(table: Table, keys: bytes, partition: int, first: int, last: int) -> Statement:
    """The last event of an item between two sequence numbers, these included.

    Args:
        keys: of the item, as its events spell them.
    """
    return (
        "SELECT COALESCE(item_version, id), payload FROM mynamo_outbox FORCE INDEX (by_sequence)"
        " WHERE seq >= %s AND seq <= %s AND part = %s AND table_id = %s AND feeds = 1"
        " AND LOCATE(%s, payload) > 0 ORDER BY seq DESC LIMIT 1",
        (first, last, partition, table.id, keys),
    )


def lock_item(table: Table, row: RowKey) -> Statement:
    """An item, or the placeholder of an intent, whose version is 0; nobody may change it until the
    transaction ends."""
    return (
        f"SELECT {OWN_VERSION}, item FROM {sql.main_table(table.id)}"
        " WHERE hash = %s AND sort = %s FOR UPDATE",
        row,
    )


def insert_placeholder(table: Table, row: RowKey) -> Statement:
    """A row instead of an absent item. Its lock is the only one that keeps the item absent."""
    return f"INSERT INTO {sql.main_table(table.id)} VALUES (%s, %s, 0, '')", row


def delete_placeholder(table: Table, row: RowKey) -> Statement:
    """Delete the row of `insert_placeholder`."""
    return f"DELETE FROM {sql.main_table(table.id)} WHERE hash = %s AND sort = %s", row


def delete_global(index: Index, row: IndexRow, version: int, item: bytes) -> Statement:
    """Take a row out of a GSI, if it still is the one that was examined."""
    matches, values = _any_of(GLOBAL_ORDER, [row])
    return (
        f"DELETE FROM {sql.index_table(index)} WHERE {matches} AND version = %s AND item = %s",
        (*values, version, item),
    )


def fitting(sizes: Iterable[int | None]) -> int:
    """How many of these items make a chunk: at least one, if there is any."""
    total = rows = 0
    for size in sizes:
        total += size or 0
        if rows and total > CHUNK_BYTES:
            break
        rows += 1
    return rows


def groups(sizes: Sequence[tuple[RowKey, int]]) -> Iterator[list[RowKey]]:
    """Divide items into chunks."""
    start = 0
    while start < len(sizes):
        end = start + fitting(size for _, size in sizes[start : start + CHUNK_ROWS])
        yield [row for row, _ in sizes[start:end]]
        start = end


def _beside_items(index: Index) -> tuple[str, tuple[str, ...]]:
    main = sql.main_table(index.table_id)
    source = (
        f"{sql.index_table(index)} l LEFT JOIN {main} m"
        f" ON m.hash = l.hash AND m.sort = l.sort AND m.{IS_ITEM}"
    )
    return source, tuple(f"l.{column}" for column in LOCAL_ORDER)


def _scan_items(columns: str, table: Table, span: Span, rows: int | None = None) -> Statement:
    return _scan(columns, sql.main_table(table.id), ITEM_ORDER, span, rows)


def _scan(
    columns: str,
    source: str,
    order: tuple[str, ...],
    span: Span,
    rows: int | None = None,
) -> Statement:
    where, values = within(order, span)
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    limit = CHUNK_ROWS if rows is None else rows
    return (
        f"SELECT {columns} FROM {source}{condition} ORDER BY {', '.join(order)} LIMIT {limit:d}",
        values,
    )


def within(order: tuple[str, ...], span: Span) -> tuple[list[str], list[Any]]:
    """Conditions that together name the rows of a span."""
    where: list[str] = []
    values: list[Any] = []
    if span.after is not None:
        beyond, values = _above(order, span.after)
        where.append(beyond)
    elif span.low.strip(b"\0"):
        where.append(f"{order[0]} >= %s")
        values.append(span.low)
    if span.high is not None:
        where.append(f"{order[0]} < %s")
        values.append(span.high)
    return where, values


def _above(order: tuple[str, ...], after: Values) -> tuple[str, list[Any]]:
    """Rows behind a row. Not `(a, b) > (x, y)`: neither server makes an index range of that."""
    ranges: list[str] = []
    values: list[Any] = []
    for position, column in reversed(list(enumerate(order))):
        ranges.append(" AND ".join([*(f"{c} = %s" for c in order[:position]), f"{column} > %s"]))
        values += after[: position + 1]
    return "((" + ") OR (".join(ranges) + "))", values


def _look_up_items(columns: str, table: Table, keys: Iterable[Values]) -> Statement:
    text, values = _look_up(columns, sql.main_table(table.id), ITEM_ORDER, keys)
    return f"{text} AND {IS_ITEM}", values


def _look_up(
    columns: str, source: str, order: tuple[str, ...], keys: Iterable[Values]
) -> Statement:
    where, values = _any_of(order, keys)
    return f"SELECT {columns} FROM {source} WHERE {where}", values


def _any_of(columns: tuple[str, ...], keys: Iterable[Values]) -> tuple[str, list[Any]]:
    """One of these rows. Not `(a, b) IN (...)`: of a single row MariaDB's DELETE would
    read the whole table."""
    listed = [tuple(key) for key in keys]
    one = "(" + " AND ".join(f"{column} = %s" for column in columns) + ")"
    return "(" + " OR ".join([one] * len(listed)) + ")", [v for key in listed for v in key]
