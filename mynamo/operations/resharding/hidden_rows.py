"""Writing rows of a range to the shard that does not own it yet; nobody looks at them there.

Each function gives statements for the transaction that holds the range's fences (`ranges.held`),
or runs some in it. All are idempotent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from mynamo.catalog import sql
from mynamo.catalog.gsi_rows import GsiRow, RowChange, delete_row, upsert_rows
from mynamo.catalog.intents import read_items
from mynamo.catalog.tables import Index, RowKey, Table
from mynamo.mysql.pool import Session, Statement
from mynamo.schemas.items import load_item
from mynamo.writer.transaction.statements import delete_local, delete_rows, insert_local

UNTIL_MOVED = 2**63
"""The generation of a request token that has been copied, until its slot has moved: it is above all
generations, so nobody forgets it, and no transaction takes it for its own."""


class Item(NamedTuple):
    """An item as it lies on the source, without a mark."""

    version: int
    data: bytes


def write_items(session: Session, table: Table, items: Mapping[RowKey, Item | None]) -> None:
    """Bring items, and their rows in LSIs, to the state that they have on the source.

    Args:
        session: to the target.
        items: by key, in order; None: there is no such item.
    """
    if not items:
        return
    before: dict[RowKey, bytes] = {}
    if table.indexes_beside:
        found = session.run(read_items(table.id, items.keys()))[0].rows
        before = {RowKey(hash_, sort): data for hash_, sort, _, data in found}
    there = {key: item for key, item in items.items() if item is not None}
    statements: list[Statement] = []
    if there:
        values: list[Any] = []
        for key, item in there.items():
            values += (*key, item.version, item.data)
        places = ", ".join(["(%s, %s, %s, %s)"] * len(there))
        statements.append(
            (f"INSERT INTO {sql.main_table(table.id)} (hash, sort, version, item) VALUES {places}"
             " ON DUPLICATE KEY UPDATE version = VALUES(version), item = VALUES(item)", values)
        )  # fmt: skip
    gone = [key for key, item in items.items() if item is None]
    if gone:
        statements += delete_rows([(table.id, key) for key in gone])
    parsed = (
        {key: load_item(item.data) for key, item in there.items()} if table.indexes_beside else {}
    )
    parsed_before = {key: load_item(data) for key, data in before.items()}
    for index in table.indexes_beside:
        come = _places(index, parsed)
        leave = [place for place in _places(index, parsed_before) if place not in set(come)]
        if leave:
            statements.append(delete_local(index, leave))
        if come:  # also those that were there: the index may be younger than the copy
            statements.append(insert_local(index, come))
    if statements:
        session.run(*statements)


def _places(
    index: Index, items: Mapping[RowKey, Mapping[str, Any]]
) -> list[tuple[bytes, bytes, bytes]]:
    found = []
    for key, item in items.items():
        sort = index.sort_of(item)
        if sort is not None:
            found.append((key.hash, sort, key.sort))
    return found


GSI_COLUMNS = "index_hash, index_sort, hash, sort, version, item"


def read_gsi_rows(index: Index, rows: Sequence[GsiRow]) -> Statement:
    """Rows of a GSI by their keys."""
    one = "(index_hash = %s AND index_sort = %s AND hash = %s AND sort = %s)"
    return (
        f"SELECT {GSI_COLUMNS} FROM {sql.index_table(index)} FORCE INDEX (PRIMARY)"
        f" WHERE {' OR '.join([one] * len(rows))}",
        list(chain.from_iterable(rows)),
    )


def write_gsi_rows(changes: Sequence[RowChange]) -> list[Statement]:
    """Bring rows of one GSI to the state that they have on the source."""
    there = [change for change in changes if change.item is not None]
    statements = [delete_row(change) for change in changes if change.item is None]
    if there:
        statements.append(upsert_rows(there))
    return statements


_TOKENS = "token, slot, request, transaction_id, shards, first_id, changed, answer"


def read_tokens(where: str) -> str:
    """Request tokens."""
    return f"SELECT {_TOKENS} FROM mynamo_token FORCE INDEX (PRIMARY) WHERE {where}"


def write_tokens(rows: Sequence[Sequence[Any]]) -> Statement:
    """Keep copied request tokens, which get the target's generation once the slots have moved."""
    places = ", ".join([f"({', '.join(['%s'] * 8)}, {UNTIL_MOVED:d})"] * len(rows))
    return (
        f"INSERT INTO mynamo_token ({_TOKENS}, generation) VALUES {places}"
        " ON DUPLICATE KEY UPDATE token = VALUES(token)",
        [value for row in rows for value in row],
    )


_APPLIED = "slot, command_id, done_at, version, refused"


def read_applied(where: str) -> str:
    """Ids of queued writes that are done."""
    return f"SELECT {_APPLIED} FROM mynamo_applied FORCE INDEX (PRIMARY) WHERE {where}"


def write_applied(rows: Sequence[Sequence[Any]]) -> Statement:
    """Keep ids of queued writes."""
    places = ", ".join([f"({', '.join(['%s'] * 5)})"] * len(rows))
    return (
        f"INSERT INTO mynamo_applied ({_APPLIED}) VALUES {places}"
        " ON DUPLICATE KEY UPDATE done_at = VALUES(done_at)",
        [value for row in rows for value in row],
    )


def gsi_change(index: Index, row: Sequence[Any]) -> RowChange:
    """A row of `GSI_COLUMNS` as it shall be."""
    return RowChange(index, GsiRow(*row[:4]), row[4], row[5])
