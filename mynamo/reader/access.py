"""The ways to read items in key order, as SQL: the table, an LSI, a GSI.

Every statement reads a range of one primary key, in its order. Three habits keep it so,
on MySQL and MariaDB alike, and tests/integration/test_explain_reads.py holds them:

*   A position is compared column by column, in ORs of ANDs. MySQL makes a range of
    `(a > 1 OR (a = 1 AND b > 2))`; for `(a, b) > (1, 2)`, which says the same, it walks
    from the beginning of the hash key to the position, and page 1000 costs 1000 pages.
*   ORDER BY names all columns of the primary key, so nothing is ever sorted.
*   FORCE INDEX: by the statistics of a table that has just grown, a full scan may look
    cheap. MySQL also saves itself the look at the range's ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mynamo.shards import sql
from mynamo.shards.keys import Comparison
from mynamo.shards.pool import Statement
from mynamo.shards.tables import Index, Table

Position = tuple[bytes, ...]
"""The whole primary key of a row that was read: all of `Access.columns`."""

Condition = tuple[str, list[bytes]]
"""SQL, and the values it binds."""


@dataclass(slots=True)
class Access:
    """One way to read a table's items in order.

    Attributes:
        index: None for the table itself.
        source: what stands after FROM.
        columns: the primary key that is read in order; the first is a hash.
        item: the column with the item.
    """

    table: Table
    index: Index | None
    source: str
    columns: tuple[str, ...]
    item: str


def access_to(table: Table, index: Index | None) -> Access:
    """How to read a table, or it by way of one of its indexes."""
    main = sql.main_table(table.id)
    if index is None:
        return Access(table, None, f"{main} FORCE INDEX (PRIMARY)", ("hash", "sort"), "item")
    name = sql.index_table(index)
    if index.kind == "LSI":
        # One statement, hence one view of both: the LSI row and its item belong together.
        source = (
            f"{name} AS l FORCE INDEX (PRIMARY) STRAIGHT_JOIN {main} AS m FORCE INDEX (PRIMARY)"
            " ON m.hash = l.hash AND m.sort = l.sort"
        )
        return Access(table, index, source, ("l.hash", "l.index_sort", "l.sort"), "m.item")
    columns = ("index_hash", "index_sort", "hash", "sort")
    return Access(table, index, f"{name} FORCE INDEX (PRIMARY)", columns, "item")


def select(
    access: Access,
    bounds: Sequence[tuple[str, Comparison]],
    after: Position | None,
    descending: bool,
    rows: int,
) -> Statement:
    """The statement that reads the next rows of a range.

    Args:
        bounds: columns and what they must be.
        after: the row to go on behind, or None to begin.
        rows: at most so many.

    Returns:
        A statement whose rows are the columns of `access`, then the item.
    """
    conditions: list[Condition] = [
        (f"{column} {operator} %s", [value]) for column, (operator, value) in bounds
    ]
    if after is not None:
        fixed = {column for column, (operator, _) in bounds if operator == "="}
        rest = [(c, p) for c, p in zip(access.columns, after, strict=True) if c not in fixed]
        # Where every column is given there is one row, and nothing behind it.
        conditions.append(beyond(rest, descending) if rest else ("FALSE", []))
    direction = " DESC" if descending else ""
    order = ", ".join(f"{column}{direction}" for column in access.columns)
    statement = (
        f"SELECT {', '.join(access.columns)}, {access.item} FROM {access.source}"
        f" WHERE {' AND '.join(text for text, _ in conditions)}"
        f" ORDER BY {order} LIMIT {rows:d}"
    )
    return statement, tuple([value for _, values in conditions for value in values])


def beyond(position: Sequence[tuple[str, bytes]], descending: bool) -> Condition:
    """Rows behind a position: `(a > 1 OR (a = 1 AND (b > 2 OR (b = 2 AND c > 3))))`."""
    (column, value), *rest = position
    operator = "<" if descending else ">"
    if not rest:
        return f"{column} {operator} %s", [value]
    inner, values = beyond(rest, descending)
    return f"({column} {operator} %s OR ({column} = %s AND {inner}))", [value, value, *values]
