"""Choosing the cheapest access path for items with given attributes; and MySQL's EXPLAIN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Index, Table
from mynamo.mysql.pool import Statement
from mynamo.schemas.values import StoredItem

_MYSQL_COLUMNS = (
    "id", "select_type", "table", "partitions", "type", "possible_keys", "key", "key_len",
    "ref", "rows", "filtered", "Extra",
)  # fmt: skip
_MARIADB_COLUMNS = tuple(c for c in _MYSQL_COLUMNS if c not in ("partitions", "filtered"))


def explain_statement(shard: DynamoDBShard, statement: Statement) -> list[dict[str, Any]]:
    """EXPLAIN a statement without running it.

    Returns:
        A dictionary per table that it reads, by the names the server uses.

    Raises:
        MissingTable, ShardUnavailable: as the statement itself would.
    """
    text, values = statement
    rows = shard.ask((f"EXPLAIN FORMAT=TRADITIONAL {text}", values))[0].rows
    return [_named(row) for row in rows]


def _named(row: tuple[Any, ...]) -> dict[str, Any]:
    columns = _MYSQL_COLUMNS if len(row) == len(_MYSQL_COLUMNS) else _MARIADB_COLUMNS
    return dict(zip(columns, row, strict=True))


ChoiceKind = Literal["item", "primary key", "local index", "global index", "scan"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A reading that finds every item with the given attributes, and perhaps others.

    Attributes:
        kind: "item" reads one by its whole key; "primary key" those of one hash key; an
            index those with its keys; "scan" all.
        index: for the two kinds of index.
        satisfied: the given attributes with which every item that it finds agrees.
    """

    kind: ChoiceKind
    index: Index | None = None
    satisfied: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.kind} {self.index.name}" if self.index else self.kind


SCAN = Choice("scan")


def choose(table: Table, given: StoredItem) -> Choice:
    """Choose by what is cheapest: item, LSI, hash key, GSI, scan.

    An index serves only if *all* of its key attributes are given, each of the key's type:
    an item that lacks one of them, or has it in another type, is not in the index, but may
    still be one of those that are looked for.

    Args:
        given: attributes and the values they must have.
    """
    if all(name in given for name in table.key_names):
        return Choice("item", satisfied=frozenset(table.key_names))
    if table.hash_key.name in given:
        for index in table.local_indexes:
            if serves(index, given):
                return Choice("local index", index, keys_of(index))
        return Choice("primary key", satisfied=frozenset({table.hash_key.name}))
    serving = [index for index in table.global_indexes if serves(index, given)]
    # A GSI answers with what it projects: whole items only if that is everything.
    whole = [index for index in serving if index.projection.type == "ALL"]
    if whole:
        best = max(whole, key=lambda index: len(keys_of(index)))
        return Choice("global index", best, keys_of(best))
    return SCAN


def serves(index: Index, given: StoredItem) -> bool:
    """Whether an index has every item with the given attributes."""
    return index.status == "ACTIVE" and index.key_of(given) is not None


def keys_of(index: Index) -> frozenset[str]:
    """Names of the attributes of an index's key."""
    return frozenset(index.key_names)
