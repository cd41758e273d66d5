"""Intents: what a transaction over several shards is about to do to an item, until it is decided.

An item with an intent has a mark in its version; an absent one has a placeholder row. So whoever
locks the row sees the intent, with no statement more. Plain reads see the item as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain
from typing import Any

from mynamo.catalog import sql
from mynamo.catalog.migrations import GENERATION_ROW
from mynamo.catalog.tables import RowKey
from mynamo.mysql.pool import Result, Statement

MARK = 2**62
"""Added to the version of an item with an intent. Versions themselves are below 2^53."""


def unmarked(version: int) -> int:
    """An item's own version, whether or not it has an intent; 0 of a placeholder."""
    return version & (MARK - 1)


def is_free(version: int) -> bool:
    """Whether a row of the main table has no intent: it is neither marked nor a placeholder."""
    return 0 < version < MARK


def is_item(version: int) -> bool:
    """Whether a row of the main table is an item, and no placeholder."""
    return version > 0


OWN_VERSION = f"version & {MARK - 1:d}"
"""`unmarked`, in SQL, of a row of the main table."""
IS_ITEM = "version > 0"
"""`is_item`, in SQL."""


def read_items(table_id: int, keys: Collection[RowKey]) -> Statement:
    """Items by their keys: hash, sort, own version, bytes; no placeholders."""
    return (
        f"SELECT hash, sort, {OWN_VERSION}, item FROM {sql.main_table(table_id)}"
        f" FORCE INDEX (PRIMARY) WHERE ({sql.any_row(keys)}) AND {IS_ITEM}",
        list(chain.from_iterable(keys)),
    )


class Action(IntEnum):
    """What an intent does to its item once its transaction is committed."""

    PUT = 1
    DELETE = 2
    CHECK = 3


class Decision(IntEnum):
    """What became of a transaction over several shards."""

    COMMITTED = 1
    ABORTED = 2


@dataclass(frozen=True, slots=True)
class Transaction:
    """One attempt of a transaction over several shards, as its intents name it.

    Attributes:
        id: 16 bytes, a UUID of version 7; a smaller one is older. No two attempts have the same.
        decider: number of the shard with its decision.
        generation: of that shard, when the attempt began.
        token: of its request token; None: it has none.
    """

    id: bytes
    decider: int
    generation: int
    token: bytes | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """One row of `mynamo_intent`.

    Attributes:
        table_id, row: of the item.
        transaction_id: 16 bytes, a UUID of version 7; a smaller one is older.
        decider: number of the shard with the transaction's decision.
        generation: of that shard, when the transaction began.
        action: what shall be done.
        item: of a PUT: the item as it shall be, as `dump_item` gives it.
        token: of its request token; None: it has none.
    """

    table_id: int
    row: RowKey
    transaction_id: bytes
    decider: int
    generation: int
    action: Action
    item: bytes | None = None
    token: bytes | None = None


_COLUMNS = "table_id, hash, sort, transaction_id, decider, generation, action, item, token"


def read_intents(
    places: Collection[tuple[int, RowKey]], transaction_id: bytes | None = None, lock: bool = False
) -> Statement:
    """The intents on rows, by primary key; see `intents_in`.

    Args:
        places: table's id and row of each.
        transaction_id: of this transaction only.
        lock: the intents, for whoever has locked their main rows.
    """
    of_one = "" if transaction_id is None else " AND transaction_id = %s"
    place = f"(table_id = %s AND hash = %s AND sort = %s{of_one})"
    last = () if transaction_id is None else (transaction_id,)
    return (
        f"SELECT {_COLUMNS} FROM mynamo_intent FORCE INDEX (PRIMARY)"
        f" WHERE {' OR '.join([place] * len(places))}{' FOR UPDATE' if lock else ''}",
        list(chain.from_iterable((table_id, *row, *last) for table_id, row in places)),
    )


def lock_intents(those: Collection[tuple[int, RowKey, bytes]]) -> Statement:
    """Lock intents, behind the rows of their items, and read them; see `intents_in`.

    Args:
        those: table's id, row and transaction's id of each.
    """
    place = "(table_id = %s AND hash = %s AND sort = %s AND transaction_id = %s)"
    return (
        f"SELECT {_COLUMNS} FROM mynamo_intent FORCE INDEX (PRIMARY)"
        f" WHERE {' OR '.join([place] * len(those))} FOR UPDATE",
        list(chain.from_iterable((table_id, *row, id_) for table_id, row, id_ in those)),
    )


def read_transaction_intents(transaction_id: bytes) -> Statement:
    """All intents of a transaction on a shard, without a lock; see `intents_in`."""
    return (
        f"SELECT {_COLUMNS} FROM mynamo_intent FORCE INDEX (by_transaction)"
        " WHERE transaction_id = %s ORDER BY table_id, hash, sort",
        (transaction_id,),
    )


def intents_in(found: Result) -> list[Intent]:
    """What `read_intents` and `read_transaction_intents` gave."""
    return [
        Intent(table_id, RowKey(hash_, sort), transaction_id, decider, generation,
               Action(action), item, token)
        for table_id, hash_, sort, transaction_id, decider, generation, action, item, token
        in found.rows
    ]  # fmt: skip


def insert_intents(intents: Sequence[Intent]) -> Statement:
    """Keep intents, behind their marks and placeholders."""
    values: list[Any] = []
    for each in intents:
        values += (
            each.table_id, *each.row, each.transaction_id, each.decider, each.generation,
            int(each.action), each.item, each.token,
        )  # fmt: skip
    row_values = f"({', '.join(['%s'] * 9)}, {sql.NOW})"
    return (
        f"INSERT INTO mynamo_intent ({_COLUMNS}, placed_at) VALUES "
        + ", ".join([row_values] * len(intents)),
        values,
    )


def delete_intents(intents: Sequence[Intent]) -> Statement:
    """Take intents away, together with their marks and placeholders."""
    place = "(table_id = %s AND hash = %s AND sort = %s AND transaction_id = %s)"
    return (
        f"DELETE FROM mynamo_intent WHERE {' OR '.join([place] * len(intents))}",
        list(chain.from_iterable((i.table_id, *i.row, i.transaction_id) for i in intents)),
    )


READ_GENERATION: Statement = (
    "SELECT version FROM mynamo_fence FORCE INDEX (PRIMARY) WHERE id = %s",
    (GENERATION_ROW,),
)
"""Of a deciding shard. One whose row is missing has none: it is of an older format."""


def read_decision(transaction_id: bytes) -> Statement:
    """The decision of a transaction, on its deciding shard; no row: there is none."""
    return (
        "SELECT decision FROM mynamo_transaction FORCE INDEX (PRIMARY) WHERE id = %s",
        (transaction_id,),
    )


def read_decisions(transaction_ids: Sequence[bytes]) -> Statement:
    """The decisions of transactions, as far as there are any: id, and decision."""
    return (
        "SELECT id, decision FROM mynamo_transaction FORCE INDEX (PRIMARY)"
        f" WHERE id IN ({sql.placeholders(transaction_ids)})",
        transaction_ids,
    )


def insert_committed(transaction_ids: Sequence[bytes], generation: int) -> Statement:
    """T4's decisions; a duplicate says that somebody has aborted one of the transactions.

    Args:
        generation: the shard's, locked shared: that of each transaction, or the next one.
    """
    row_values = f"(%s, {int(Decision.COMMITTED):d}, %s, {sql.NOW})"
    return (
        "INSERT INTO mynamo_transaction (id, decision, generation, decided_at) VALUES "
        + ", ".join([row_values] * len(transaction_ids)),
        list(chain.from_iterable((id_, generation) for id_ in transaction_ids)),
    )


def insert_aborted(transaction_id: bytes, generation: int) -> Statement:
    """T6's decision, which waits for a T4 that is under way. It inserts nothing beside another
    decision, nor if the shard's generation is not the transaction's or the next one."""
    return (
        "INSERT IGNORE INTO mynamo_transaction (id, decision, generation, decided_at)"
        f" SELECT %s, %s, %s, {sql.NOW} FROM mynamo_fence FORCE INDEX (PRIMARY)"
        " WHERE id = %s AND version BETWEEN %s AND %s LOCK IN SHARE MODE",
        (
            transaction_id, int(Decision.ABORTED), generation,
            GENERATION_ROW, generation, generation + 1,
        ),
    )  # fmt: skip


def read_open(after: bytes, most: int) -> Statement:
    """Transactions with intents on a shard, in the order of their ids: id, number of the deciding
    shard, generation, the item's table and hash.

    Args:
        after: this id.
        most: intents; a transaction with several comes several times.
    """
    return (
        "SELECT transaction_id, decider, generation, table_id, hash FROM mynamo_intent"
        f" FORCE INDEX (by_transaction) WHERE transaction_id > %s ORDER BY transaction_id"
        f" LIMIT {most:d}",
        (after,),
    )


def delete_intents_of(table_id: int) -> Statement:
    """Delete the intents on a table that is gone, and its marks and placeholders with it."""
    return "DELETE FROM mynamo_intent WHERE table_id = %s", (table_id,)


def which_have_intents(transaction_ids: Sequence[bytes]) -> Statement:
    """Those of these transactions that have intents on a shard: their ids."""
    return (
        "SELECT DISTINCT transaction_id FROM mynamo_intent FORCE INDEX (by_transaction)"
        f" WHERE transaction_id IN ({sql.placeholders(transaction_ids)})",
        transaction_ids,
    )


def forget_aborted(generation: int, most: int) -> Statement:
    """Delete ABORTED of a generation or earlier ones."""
    return (
        "DELETE FROM mynamo_transaction WHERE generation <= %s AND decision = %s"
        f" ORDER BY generation LIMIT {most:d}",
        (generation, int(Decision.ABORTED)),
    )


def read_committed(generation: int, most: int) -> Statement:
    """The ids of transactions that were committed in a generation or earlier ones."""
    return (
        "SELECT id FROM mynamo_transaction FORCE INDEX (by_generation)"
        f" WHERE generation <= %s AND decision = %s ORDER BY generation LIMIT {most:d}",
        (generation, int(Decision.COMMITTED)),
    )


def forget_committed(transaction_ids: Sequence[bytes]) -> Statement:
    """Delete decisions of these transactions, of which no shard has intents."""
    return (
        "DELETE FROM mynamo_transaction WHERE decision = %s"
        f" AND id IN ({sql.placeholders(transaction_ids)})",
        (int(Decision.COMMITTED), *transaction_ids),
    )
