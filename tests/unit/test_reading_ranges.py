"""Conditions on sort keys and positions mean what they say, for every key there is."""

from __future__ import annotations

import binascii
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from mynamo.errors import InvalidItem, InvalidRequest
from mynamo.expressions import KeyCondition
from mynamo.reader import (
    SortCondition,
    begins_with,
    between,
    equal,
    greater,
    greater_or_equal,
    less,
    less_or_equal,
)
from mynamo.reader.access_paths import Access, KeyRange, access_to, beyond, key_range, select
from mynamo.reader.fetching import Fetched
from mynamo.schemas.keys import KeyType, encode_key
from tests.made_up import index_of, table_of
from tests.strategies import binaries, key_values

HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def keys_of_one_type(
    *types: KeyType, count: int
) -> SearchStrategy[tuple[KeyType, list[dict[str, str]]]]:
    """A type and keys of it."""
    return st.one_of(
        [
            st.tuples(st.just(kind), st.lists(key_values(kind), min_size=count, max_size=count))
            for kind in types
        ]
    )


def meaning(value: dict[str, str]) -> Any:
    """What a key is compared by, in Python's own types."""
    ((kind, body),) = value.items()
    if kind == "N":
        return Decimal(body)
    return binascii.a2b_base64(body) if kind == "B" else body.encode()


def range_of(condition: SortCondition, kind: KeyType) -> KeyRange:
    """What a query of one hash key with a condition on the sort key reads."""
    hashed = KeyCondition("h", "=", ({"S": "x"},))
    return key_range(table_of(sort_key=f"s:{kind}"), (hashed, condition.on("s")))


def admits(condition: SortCondition, kind: KeyType, value: dict[str, str]) -> bool:
    return range_of(condition, kind).admits(encode_key(kind, value))


def stored(operator: Any, *values: dict[str, str]) -> SortCondition:
    return SortCondition(operator, values)


@given(keys_of_one_type("S", "N", "B", count=3))
def test_conditions_hold_for_the_right_keys(
    drawn: tuple[KeyType, list[dict[str, str]]],
) -> None:
    kind, (key, one, other) = drawn
    for operator, holds in HOLDS.items():
        assert admits(stored(operator, one), kind, key) == holds(meaning(key), meaning(one))
    low, high = sorted((one, other), key=meaning)
    inside = meaning(low) <= meaning(key) <= meaning(high)
    assert admits(stored("between", low, high), kind, key) == inside


@given(keys_of_one_type("S", "B", count=2))
def test_begins_with_holds_for_the_right_keys(
    drawn: tuple[KeyType, list[dict[str, str]]],
) -> None:
    kind, (key, prefix) = drawn
    for start in (prefix, key):
        expected = meaning(key).startswith(meaning(start))
        assert admits(stored("begins_with", start), kind, key) == expected


def test_begins_with_the_highest_bytes_has_no_upper_bound() -> None:
    assert range_of(begins_with(b"\xff\xff"), "B").comparisons == ((">=", b"\xff\xff"),)


@pytest.mark.parametrize(
    ("condition", "kind", "message"),
    [
        (begins_with(1), "N", "operator or function: begins_with, operand type: N"),
        (begins_with("1"), "N", "does not match schema type"),
        (begins_with(1), "S", "begins_with"),
        (between(2, 1), "N", "upper bound to be greater than or equal to lower bound"),
        (between("b", "a"), "S", "BETWEEN"),
        (equal(1), "S", "does not match schema type"),
        (less("x"), "N", "s is of type N"),
        (less_or_equal(b"x"), "S", "does not match schema type"),
        (greater(""), "S", "empty string"),
        (greater_or_equal(b""), "B", "empty binary"),
        (equal("x" * 1025), "S", "size limit of 1024"),
        (equal(None), "S", "does not match schema type"),
    ],
)
def test_conditions_that_cannot_be(condition: SortCondition, kind: KeyType, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        range_of(condition, kind)


def test_a_value_that_no_attribute_can_have() -> None:
    with pytest.raises(InvalidItem, match="Float"):
        equal(1.5)


ROWS = st.lists(st.tuples(*[binaries(max_size=2)] * 3), unique=True, max_size=12)


@given(ROWS, st.tuples(*[binaries(max_size=2)] * 3), st.booleans())
def test_rows_beyond_a_position(
    rows: list[tuple[bytes, ...]], position: tuple[bytes, ...], descending: bool
) -> None:
    """The ORs of ANDs say what comparing whole rows says; SQLite is the judge."""
    text, values = beyond(list(zip("abc", position, strict=True)), descending)
    found = _sqlite(rows, text, values)
    behind = [r for r in rows if (r < position if descending else r > position)]
    assert sorted(found) == sorted(behind)


BOUNDS = st.tuples(binaries(max_size=1), binaries(max_size=2))


@given(ROWS, st.integers(1, 4), st.booleans(), BOUNDS)
def test_pages_of_a_range_make_up_the_range(
    rows: list[tuple[bytes, ...]], limit: int, descending: bool, bounds: tuple[bytes, bytes]
) -> None:
    low, high = min(bounds), max(bounds)
    access = Access(table_of(), None, "rows", ("a", "b", "c"), "a")
    within = [("a", (">=", low)), ("a", ("<", high))]
    pages: list[tuple[bytes, ...]] = []
    position = None
    while True:
        text, values = select(access, within, position, descending, limit)  # type: ignore[arg-type]
        found = _sqlite(rows, text.partition("WHERE ")[2], values)
        pages += found
        if len(found) < limit:
            break
        position = found[-1]
    assert pages == sorted((r for r in rows if low <= r[0] < high), reverse=descending)


def test_a_position_with_every_column_given_has_nothing_behind_it() -> None:
    access = access_to(table_of(), None)
    bounds = [("hash", ("=", b"h")), ("sort", ("=", b"s"))]
    text, _ = select(access, bounds, (b"h", b"s"), False, 5)  # type: ignore[arg-type]
    assert "FALSE" in text


def test_every_access_orders_by_its_whole_primary_key() -> None:
    for index, columns in ((index_of("LSI"), 3), (index_of("GSI"), 4)):
        access = access_to(table_of(), index)
        assert len(access.columns) == columns
        text, _ = select(access, [(access.columns[0], ("=", b"h"))], None, True, 5)
        order = text.partition("ORDER BY ")[2].partition(" LIMIT")[0]
        assert order == ", ".join(f"{column} DESC" for column in access.columns)


def _sqlite(rows: list[tuple[bytes, ...]], where: str, values: Any) -> list[tuple[bytes, ...]]:
    database = sqlite3.connect(":memory:")
    try:
        database.execute("CREATE TABLE rows (a BLOB, b BLOB, c BLOB)")
        database.executemany("INSERT INTO rows VALUES (?, ?, ?)", rows)
        statement = f"SELECT a, b, c FROM rows WHERE {where.replace('%s', '?')}"
        return list(database.execute(statement, values))
    finally:
        database.close()


@pytest.mark.parametrize("raw", [True, False])
def test_a_page_takes_rows_up_to_its_limit(raw: bool) -> None:
    rows = tuple((b"h", bytes([i]), b'{"a":{"N":"%d"}}' % i) for i in range(5))
    page = Fetched()
    for some, more, count in ((rows[:2], False, 2), (rows[2:], True, 4)):
        page.take(some, dict, whole=False, raw=raw, limit=4)
        assert (page.more, page.count, page.last) == (more, count, rows[count - 1][:2])
    assert page.last_item() == {"a": {"N": "3"}}
