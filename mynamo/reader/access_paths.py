"""The ways to read items in key order, as SQL: the table, an LSI, a GSI.

Every statement reads a range of one primary key, in its order. Three habits keep it so,
on MySQL and MariaDB alike, and tests/integration/test_explain_reads.py holds them:

*   A position is compared column by column, in ORs of ANDs. MySQL makes a range of
    `(a > 1 OR (a = 1 AND b > 2))`. For the equivalent `(a, b) > (1, 2)` it reads from the
    beginning of the hash key to the position, so that page 1000 costs 1000 pages.
*   ORDER BY names all columns of the primary key, so nothing is ever sorted.
*   FORCE INDEX: the statistics of a table that has just grown may make a full scan look
    cheap. MySQL also need not estimate the range then.

Key conditions become ranges of such rows. What is refused, in which order and with which messages
follows DynamoDB: its API reference of Query, "KeyConditionExpression", and for keys of several
attributes its Developer Guide, "Multi-attribute keys pattern". Every attribute of the hash key
must be equal to a value. Those of the sort key are given from the left without a gap, and only the
last one that is given may have another operator.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn, TypeAlias

from mynamo.catalog import sql
from mynamo.catalog.intents import IS_ITEM
from mynamo.catalog.tables import Index, Table
from mynamo.errors import InvalidItem, InvalidRequest
from mynamo.expressions import KeyCondition
from mynamo.expressions.conditions import shown
from mynamo.mysql.pool import Statement
from mynamo.schemas.keys import MAX_HASH_KEY, MAX_SORT_KEY, Comparison, hash_of_parts, sort_bounds
from mynamo.schemas.table import KeyAttribute

Keyed: TypeAlias = Table | Index
"""What has keys: a table or an index."""

_HOLDS = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_INVALID = "One or more parameter values were invalid: "


@dataclass(slots=True)
class KeyRange:
    """Rows of one hash.

    Attributes:
        hash16: theirs.
        comparisons: what the column of the sort key must be.
    """

    hash16: bytes
    comparisons: tuple[Comparison, ...]

    def admits(self, sort: bytes) -> bool:
        """Whether a row with this sort key is among them."""
        return all(_HOLDS[sign](sort, bound) for sign, bound in self.comparisons)

    def ends_at(self, sort: bytes, descending: bool) -> bool:
        """Whether this sort key is the last one that a row can have, in that direction."""
        return (">=" if descending else "<=", sort) in self.comparisons


def key_range(at: Keyed, conditions: Sequence[KeyCondition]) -> KeyRange:
    """The rows that fulfil a query's key conditions.

    Raises:
        InvalidRequest: they are not conditions on these keys, in DynamoDB's words.
        InvalidItem: a value is of another type than its key, empty or too long.
    """
    by_name = {condition.name: condition for condition in conditions}
    if len(by_name) < len(conditions):
        raise InvalidRequest("KeyConditionExpressions must only contain one condition per key")
    if len(conditions) > max(2, len(at.key_names)):
        raise InvalidRequest("Conditions can be of length 1 or 2 only")
    if len(conditions) > len(at.key_names):
        _not_supported()
    hashed = [_equal_to(at, key, by_name.pop(key.name, None)) for key in at.hash_keys]
    _check_size(hashed, MAX_HASH_KEY, "hash")
    return KeyRange(hash_of_parts(hashed), _sort_comparisons(at, by_name))


def _equal_to(at: Keyed, key: KeyAttribute, condition: KeyCondition | None) -> bytes:
    """The value of an attribute of the hash key."""
    if condition is None:
        _missing(key)
    _check_types(key, condition)
    if condition.operator != "=":
        _not_supported()
    return at.encoded(key, condition.values[0])


def _sort_comparisons(at: Keyed, conditions: Mapping[str, KeyCondition]) -> tuple[Comparison, ...]:
    """What the conditions on the sort key's attributes mean for the column that has it."""
    if not conditions:
        return ()
    equal: list[bytes] = []
    last: tuple[KeyCondition, list[bytes]] | None = None
    for key in at.sort_keys[: len(conditions)]:
        condition = conditions.get(key.name)
        if condition is None:
            _missing(key)
        if last is not None:
            _not_supported()
        _check_types(key, condition)
        operands = [at.encoded(key, value) for value in condition.values]
        for operand in operands:
            _check_size([*equal, operand], MAX_SORT_KEY, "range")
        if condition.operator == "=":
            equal += operands
        else:
            last = condition, operands
    types = [key.type for key in at.sort_keys]
    if last is None:
        return sort_bounds(types, equal)
    condition, operands = last
    _check_order(condition, operands)
    return sort_bounds(types, equal, condition.operator, operands)


def _check_types(key: KeyAttribute, condition: KeyCondition) -> None:
    if condition.operator == "begins_with" and "N" in condition.values[0]:
        raise InvalidRequest(
            "Incorrect operand type for operator or function; "
            "operator or function: begins_with, operand type: N"
        )
    prefixed_number = condition.operator == "begins_with" and key.type == "N"
    if prefixed_number or any(key.type not in value for value in condition.values):
        mismatch = InvalidItem(f"{_INVALID}Condition parameter type does not match schema type")
        mismatch.add_note(f"the key {key.name} is of type {key.type}")
        raise mismatch


def _check_order(condition: KeyCondition, operands: Sequence[bytes]) -> None:
    if condition.operator == "between" and operands[0] > operands[1]:
        low, high = (f"AttributeValue: {shown(value)}" for value in condition.values)
        raise InvalidRequest(
            "The BETWEEN operator requires upper bound to be greater than or equal to lower "
            f"bound; lower bound operand: {low}, upper bound operand: {high}"
        )


def _check_size(parts: Sequence[bytes], limit: int, part: str) -> None:
    if sum(map(len, parts)) <= limit:
        return
    if part == "hash" and len(parts) == 1:
        # As DynamoDB writes it, with the missing space.
        raise InvalidItem(
            f"{_INVALID}Size of hashkey has exceeded the maximum size limit of{limit} bytes"
        )
    raise InvalidItem(
        f"{_INVALID}Aggregated size of all {part} keys has exceeded the size limit of {limit} bytes"
    )


def _missing(key: KeyAttribute) -> NoReturn:
    raise InvalidRequest(f"Query condition missed key schema element: {key.name}")


def _not_supported() -> NoReturn:
    raise InvalidRequest("Query key condition not supported")


GUARD = "mynamo_fence f FORCE INDEX (PRIMARY) ON f.id = 0"
"""The slot guard, for a join: one row."""

Position = tuple[bytes, ...]
"""The whole primary key of a row that was read: all of `Access.columns`."""

Condition = tuple[str, list[bytes]]
"""SQL, and the values it binds."""


@dataclass(frozen=True, slots=True)
class Access:
    """One way to read a table's items in order.

    Attributes:
        index: None for the table itself.
        source: what stands after FROM.
        columns: the primary key that is read in order; the first is a hash.
        item: the column with the item.
        condition: what holds for every row that is read, in SQL; "": nothing.
    """

    table: Table
    index: Index | None
    source: str
    columns: tuple[str, ...]
    item: str
    condition: str = ""


def access_to(table: Table, index: Index | None) -> Access:
    """How to read a table, or it by way of one of its indexes."""
    key = access_to, index and index.id
    access: Access | None = table.kept.get(key)
    if access is None:
        access = table.kept[key] = _access_to(table, index)
    return access


def _access_to(table: Table, index: Index | None) -> Access:
    main = sql.main_table(table.id)
    if index is None:
        source = f"{main} FORCE INDEX (PRIMARY)"
        return Access(table, None, source, ("hash", "sort"), "item", f"{main}.{IS_ITEM}")
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
    *,
    guarded: bool = False,
) -> Statement:
    """The statement that reads the next rows of a range.

    Args:
        bounds: columns and what they must be.
        after: the row to go on behind, or None to begin.
        rows: at most so many.
        guarded: with the slot guard's epoch at that moment before each row, which servers look up
            once. A statement of its own for the guard would make a query a twelfth dearer.

    Returns:
        A statement whose rows are the columns of `access`, then the item.
    """
    shape = tuple([(column, operator) for column, (operator, _) in bounds])
    values = [value for _, (_, value) in bounds]
    reached = ""
    if after is not None:
        fixed = {column for column, operator in shape if operator == "="}
        rest = [(c, p) for c, p in zip(access.columns, after, strict=True) if c not in fixed]
        # Where every column is given there is one row, and nothing behind it.
        reached, more = beyond(rest, descending) if rest else ("FALSE", [])
        values += more
    text = _select_text(
        access.source, access.columns, access.item, access.condition, shape, reached, descending,
        guarded,
    )  # fmt: skip
    return f"{text}{rows:d}", tuple(values)


@lru_cache(1024)
def _select_text(
    source: str,
    columns: tuple[str, ...],
    item: str,
    condition: str,
    shape: tuple[tuple[str, str], ...],
    reached: str,
    descending: bool,
    guarded: bool,
) -> str:
    """The text of `select` up to the number of rows.

    Args:
        source, columns, item, condition: of the access.
        shape: columns, and how they compare with a value.
        reached: what holds for rows behind the one that was reached; "": begin.
        others: see `select`.
    """
    conditions = [f"{column} {operator} %s" for column, operator in shape]
    conditions += [each for each in (reached, condition) if each]
    direction = " DESC" if descending else ""
    order = ", ".join(f"{column}{direction}" for column in columns)
    epoch, guard = ("f.version, ", f" JOIN {GUARD}") if guarded else ("", "")
    return (
        f"SELECT {epoch}{', '.join(columns)}, {item} FROM {source}{guard}"
        f" WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT "
    )


def beyond(position: Sequence[tuple[str, bytes]], descending: bool) -> Condition:
    """Rows behind a position: `(a > 1 OR (a = 1 AND (b > 2 OR (b = 2 AND c > 3))))`."""
    (column, value), *rest = position
    operator = "<" if descending else ">"
    if not rest:
        return f"{column} {operator} %s", [value]
    inner, values = beyond(rest, descending)
    return f"({column} {operator} %s OR ({column} = %s AND {inner}))", [value, value, *values]
