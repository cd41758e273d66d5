"""Hypothesis strategies for numbers, keys and items, shared by all tests."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from mynamo.schemas.items import Binary, StoredItem, to_stored
from mynamo.schemas.keys import MAX_SORT_KEY, KeyType
from mynamo.schemas.numbers import MAX_DIGITS, MAX_EXPONENT, MIN_EXPONENT, format_number

LARGEST = Decimal("9." + "9" * 37 + "E+125")
SMALLEST = Decimal("1E-130")
# copy_negate: a plain minus sign would round to the decimal context.
EXTREMES = (LARGEST, LARGEST.copy_negate(), SMALLEST, SMALLEST.copy_negate())


def scaled(sign: int, coefficient: int, exponent: int) -> Decimal:
    """The number whose digits are `coefficient` and whose first digit stands at
    10^exponent, built without arithmetic."""
    digits = tuple(map(int, str(coefficient)))
    return Decimal((sign, digits, exponent - len(digits) + 1))


def numbers() -> SearchStrategy[Decimal]:
    """Every number DynamoDB has: up to 38 digits, all exponents, both signs, zero;
    small integers and neighbours come up often, and so do trailing zeros."""
    anything = st.builds(
        scaled,
        st.integers(0, 1),
        st.one_of(st.integers(1, 9999), st.integers(1, 10**MAX_DIGITS - 1)),
        st.integers(MIN_EXPONENT, MAX_EXPONENT),
    )
    familiar = st.builds(Decimal, st.integers(-1000, 1000))
    cents = st.decimals(-1000, 1000, places=2, allow_nan=False, allow_infinity=False)
    extremes = st.sampled_from([*EXTREMES, Decimal("-0.0")])
    return st.one_of(anything, familiar, cents, extremes)


def texts(min_size: int = 0, max_size: int = 20) -> SearchStrategy[str]:
    """Valid Unicode of any plane (no lone surrogates), NUL and delimiters included."""
    characters = st.one_of(
        st.sampled_from("ab#|\x00\x01é€\uffff\U00010000"), st.characters(codec="utf-8")
    )
    return st.text(characters, min_size=min_size, max_size=max_size)


def binaries(min_size: int = 0, max_size: int = 20) -> SearchStrategy[bytes]:
    """Bytes, with 0x00 and 0xff more often than chance has them."""
    often = st.lists(st.sampled_from([0, 1, 0xFE, 0xFF]), min_size=min_size, max_size=max_size)
    return st.one_of(st.binary(min_size=min_size, max_size=max_size), often.map(bytes))


def key_values(key_type: KeyType) -> SearchStrategy[dict[str, str]]:
    """Attribute values in stored form that may be a key of this type: not empty,
    canonical, short enough for a sort key."""
    if key_type == "N":
        return numbers().map(lambda number: {"N": format_number(number)})
    if key_type == "B":
        return binaries(min_size=1).map(lambda raw: {"B": base64.b64encode(raw).decode()})
    return (
        texts(min_size=1)
        .filter(lambda text: len(text.encode()) <= MAX_SORT_KEY)
        .map(lambda text: {"S": text})
    )


def python_values() -> SearchStrategy[Any]:
    """Attribute values of every type in Python form, nested a few levels."""
    binary = binaries().map(Binary)
    scalars = st.one_of(texts(), numbers(), binary, st.booleans(), st.none())
    members: list[SearchStrategy[Any]] = [texts(), numbers(), binary]
    sets = st.one_of([st.sets(member, min_size=1, max_size=4) for member in members])
    return st.recursive(
        st.one_of(scalars, sets),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(texts(min_size=1), inner, max_size=4)
        ),
        max_leaves=8,
    )


def python_items() -> SearchStrategy[dict[str, Any]]:
    """Items in Python form, the exact types `from_stored` returns."""
    return st.dictionaries(texts(min_size=1), python_values(), max_size=5)


def stored_items() -> SearchStrategy[StoredItem]:
    """Items in stored form, canonical."""
    return python_items().map(to_stored)
