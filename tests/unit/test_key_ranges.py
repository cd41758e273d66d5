"""A query's key conditions: what is refused and how, and which rows they mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mynamo.catalog.tables import Index, Table
from mynamo.errors import InvalidRequest
from mynamo.expressions import KeyCondition
from mynamo.reader.access_paths import key_range
from mynamo.schemas.keys import encode_key, hash_of, hash_of_parts, sort_code
from tests.made_up import index_of, table_of

TABLE = table_of(sort_key="s:N")
PLAIN = table_of(sort_key=None)
GLOBAL = index_of("GSI", "g", "a:N")
MANY = index_of("GSI", "g+p:N", "a:N+b+c:B")
"""Two attributes in the hash key, three in the sort key."""

MISSED = "Query condition missed key schema element: "
UNSUPPORTED = "Query key condition not supported"
MISMATCH = (
    "One or more parameter values were invalid: Condition parameter type does not match schema type"
)
EMPTY = "The AttributeValue for a key attribute cannot contain an empty string value."


def condition(text: str) -> KeyCondition:
    """Written `h = S:x`, `a between N:1 N:2`."""
    name, operator, *values = text.split()
    return KeyCondition(name, operator, tuple(value(each) for each in values))  # type: ignore[arg-type]


def value(text: str) -> dict[str, Any]:
    kind, _, body = text.partition(":")
    return {kind: body}


def conditions(text: str) -> list[KeyCondition]:
    return [condition(part) for part in text.split(" & ")]


@pytest.mark.parametrize(
    ("at", "text", "message"),
    [
        (TABLE, "s = N:1", f"{MISSED}h"),
        (TABLE, "x = S:a", f"{MISSED}h"),
        (TABLE, "h = S:a & x = S:b", f"{MISSED}s"),
        (
            TABLE,
            "h = S:a & h = S:b",
            "KeyConditionExpressions must only contain one condition per key",
        ),
        (TABLE, "h = S:a & s = N:1 & x = S:b", "Conditions can be of length 1 or 2 only"),
        (PLAIN, "h = S:a & s = N:1", UNSUPPORTED),
        (PLAIN, "h = S:a & s = N:1 & x = S:b", "Conditions can be of length 1 or 2 only"),
        (TABLE, "h < S:a", UNSUPPORTED),
        (TABLE, "h between S:a S:b", UNSUPPORTED),
        (TABLE, "h begins_with S:a", UNSUPPORTED),
        (TABLE, "h = N:1", MISMATCH),
        (TABLE, "h = S:a & s = S:b", MISMATCH),
        (TABLE, "h = S:a & s between N:1 S:2", MISMATCH),
        (TABLE, "h = S:a & s begins_with S:2", MISMATCH),
        (
            TABLE,
            "h = S:a & s between N:2 N:1",
            "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; "
            "lower bound operand: AttributeValue: {N:2}, "
            "upper bound operand: AttributeValue: {N:1}",
        ),
        (TABLE, "h = S:", f"One or more parameter values are not valid. {EMPTY} Key: h"),
        (
            GLOBAL,
            "g = S:",
            "One or more parameter values are not valid. A value specified for a secondary index "
            f"key is not supported. {EMPTY} IndexName: index_1, IndexKey: g",
        ),
        (
            TABLE,
            "h = S:" + "x" * 2049,
            "One or more parameter values were invalid: Size of hashkey has exceeded the maximum "
            "size limit of2048 bytes",
        ),
        (
            table_of(),
            "h = S:a & s > S:" + "x" * 1025,
            "One or more parameter values were invalid: Aggregated size of all range keys has "
            "exceeded the size limit of 1024 bytes",
        ),
        # The first of several mistakes, as DynamoDB finds them.
        (TABLE, "h < N:1", MISMATCH),
        (TABLE, "h = N:1 & x = S:a", MISMATCH),
        (TABLE, "h < S:a & x = S:a", UNSUPPORTED),
        (TABLE, "h < S:", UNSUPPORTED),
        (TABLE, "h < S:a & s = S:a", UNSUPPORTED),
        (TABLE, "h = S: & s = S:a", f"One or more parameter values are not valid. {EMPTY} Key: h"),
        (PLAIN, "y = S:a & x = S:a", UNSUPPORTED),
        # Keys of several attributes.
        (MANY, "g = S:a", f"{MISSED}p"),
        (MANY, "p = N:1 & a = N:1", f"{MISSED}g"),
        (MANY, "g = S:a & p > N:1", UNSUPPORTED),
        (MANY, "g = S:a & p = N:1 & b = S:x", f"{MISSED}a"),
        (MANY, "g = S:a & p = N:1 & a = N:1 & c = B:eA==", f"{MISSED}b"),
        (MANY, "g = S:a & p = N:1 & a > N:1 & b = S:x", UNSUPPORTED),
        (MANY, "g = S:a & p = N:1 & a between N:1 N:2 & b > S:x", UNSUPPORTED),
        (MANY, "g = S:a & p = N:1 & a = N:1 & b = N:1", MISMATCH),
        (MANY, "g = S:a & p = N:1 & a = N:1 & x = S:x", f"{MISSED}b"),
        (
            MANY,
            f"g = S:a & p = N:1 & a = N:1 & b = S:{'x' * 700} & c = B:{'eHh4' * 200}",
            "One or more parameter values were invalid: Aggregated size of all range keys has "
            "exceeded the size limit of 1024 bytes",
        ),
    ],
)
def test_what_is_refused_is_refused_in_dynamodbs_words(
    at: Table | Index, text: str, message: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        key_range(at, conditions(text))
    assert str(refused.value) == message


def test_the_order_of_the_text_does_not_matter() -> None:
    turned = conditions("b > S:x & p = N:1 & a = N:2 & g = S:a")
    assert key_range(MANY, turned) == key_range(MANY, turned[::-1])


def test_hash_keys_of_one_and_of_several_attributes() -> None:
    assert key_range(TABLE, conditions("h = S:a")).hash16 == hash_of(b"a")
    assert key_range(MANY, conditions("g = S:a & p = N:1")).hash16 == hash_of_parts(
        [b"a", encode_key("N", {"N": "1"})]
    )


SORT_KEYS = st.tuples(st.integers(-2, 2), st.text("ab", min_size=1, max_size=2))
HOLDS: dict[str, Any] = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "begins_with": lambda a, b: a.startswith(b),
}


@given(SORT_KEYS, SORT_KEYS, st.sampled_from(sorted(HOLDS)), st.booleans())
def test_conditions_on_several_attributes_hold_for_the_right_keys(
    key: tuple[int, str], bound: tuple[int, str], operator: str, first_alone: bool
) -> None:
    """Against plain comparisons, attribute by attribute."""
    if first_alone and operator == "begins_with":
        return
    data = sort_code(
        ["N", "S", "B"],
        [encode_key("N", {"N": str(key[0])}), key[1].encode(), b"\xff"],
        3,
    )
    text = f"g = S:a & p = N:1 & a {operator if first_alone else '='} N:{bound[0]}"
    if first_alone:
        expected = HOLDS[operator](key[0], bound[0])
    else:
        text += f" & b {operator} S:{bound[1]}"
        expected = key[0] == bound[0] and HOLDS[operator](key[1], bound[1])
    assert key_range(MANY, conditions(text)).admits(data) == expected
