"""Keys of several attributes: one code that orders as they do, and ranges of such codes."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mynamo.errors import InvalidItem
from mynamo.schemas import keys
from mynamo.schemas.keys import KeyType, RangeOperator, encode_key, sort_bounds, sort_code
from mynamo.schemas.numbers import parse_number
from mynamo.schemas.table import Projection
from tests.made_up import index_of
from tests.strategies import binaries, key_values

KEY_TYPES: tuple[KeyType, ...] = ("S", "N", "B")
several_types = st.lists(st.sampled_from(KEY_TYPES), min_size=2, max_size=4)
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
OPERATORS: tuple[RangeOperator, ...] = ("=", "<", "<=", ">", ">=", "between", "begins_with")

Parts = tuple[bytes, ...]


@st.composite
def sort_keys(draw: st.DrawFn, types: Sequence[KeyType], number: int) -> list[Parts]:
    """Sort keys that often share their first attributes, or the beginnings of them."""
    choices = [
        draw(st.lists(key_values(kind).map(partial(encode_key, kind)), min_size=1))
        for kind in types
    ]
    for kind, some in zip(types, choices, strict=True):
        if kind != "N":
            some += [some[0] + b"\0", some[0] + b"12345678", some[0][:8]]
    return draw(
        st.lists(st.tuples(*map(st.sampled_from, choices)), min_size=number, max_size=number)
    )


Encode = Callable[[Sequence[KeyType], Parts, int], bytes]


def keeps_order(encode: Encode, types: Sequence[KeyType], a: Parts, b: Parts) -> bool:
    code_a, code_b = (encode(types, parts, len(types)) for parts in (a, b))
    return (code_a < code_b, code_a == code_b) == (a < b, a == b)


@given(st.data())
def test_codes_order_as_the_attributes_do(data: st.DataObject) -> None:
    types = data.draw(several_types)
    assert keeps_order(sort_code, types, *data.draw(sort_keys(types, 2)))


def joined(types: Sequence[KeyType], parts: Parts, total: int) -> bytes:
    return b"".join(parts)


def delimited(types: Sequence[KeyType], parts: Parts, total: int) -> bytes:
    return b"\0".join(parts)


def by_length(types: Sequence[KeyType], parts: Parts, total: int) -> bytes:
    return b"".join(bytes([len(part)]) + part for part in parts)


@pytest.mark.parametrize("naive", [joined, delimited, by_length])
def test_control_simpler_codes_lose_the_order(naive: Encode) -> None:
    words = [b"a", b"ab", b"b", b"a\0", b"a\0\0", b"a\0b", b"\xff", b"aaaaaaaaa"]
    pairs = list(itertools.combinations(itertools.product(words, repeat=2), 2))
    assert all(keeps_order(sort_code, ("S", "S"), a, b) for a, b in pairs)
    assert not all(keeps_order(naive, ("S", "S"), a, b) for a, b in pairs)


@given(st.data())
def test_the_code_of_the_first_attributes_begins_the_code_of_just_these_keys(
    data: st.DataObject,
) -> None:
    types = data.draw(several_types)
    a, b = data.draw(sort_keys(types, 2))
    total = len(types)
    for given_parts in range(total + 1):
        prefix = sort_code(types, a[:given_parts], total)
        assert sort_code(types, b, total).startswith(prefix) == (a[:given_parts] == b[:given_parts])


def fulfils(
    parts: Parts, equal: Parts, operator: RangeOperator | None, bounds: Sequence[bytes]
) -> bool:
    """A query's conditions by their definition."""
    if parts[: len(equal)] != equal or operator is None:
        return parts[: len(equal)] == equal
    value = parts[len(equal)]
    if operator == "between":
        return bounds[0] <= value <= bounds[1]
    if operator == "begins_with":
        return value.startswith(bounds[0])
    return COMPARE[operator](value, bounds[0])


def within(code: bytes, comparisons: Sequence[keys.Comparison]) -> bool:
    return all(COMPARE[sign](code, bound) for sign, bound in comparisons)


@given(st.data())
def test_bounds_hold_the_keys_that_fulfil_the_conditions_and_no_others(data: st.DataObject) -> None:
    types = data.draw(st.lists(st.sampled_from(KEY_TYPES), min_size=1, max_size=4))
    wanted, *others = data.draw(sort_keys(types, 5))
    given_parts = data.draw(st.integers(0, len(types)))
    equal = wanted[:given_parts]
    op: RangeOperator | None = None
    bounds: Parts = ()
    if given_parts < len(types):
        op = data.draw(st.none() | st.sampled_from(OPERATORS))
        if op is not None:
            bounds = (wanted[given_parts],)
        if op == "between":
            bounds = tuple(sorted((*bounds, others[0][given_parts])))
        if op == "begins_with":
            assume(types[given_parts] != "N")
            bounds = (bounds[0][: data.draw(st.integers(1, len(bounds[0])))],)
    comparisons = sort_bounds(types, equal, op, bounds)
    for parts in (wanted, *others):
        code = sort_code(types, parts, len(types))
        assert within(code, comparisons) == fulfils(parts, equal, op, bounds)


@given(binaries(min_size=1, max_size=12), binaries(min_size=1, max_size=4))
def test_begins_with_in_the_middle_of_a_group(text: bytes, prefix: bytes) -> None:
    comparisons = sort_bounds(("S", "S"), (), "begins_with", (prefix,))
    for candidate in (text, prefix + text, prefix, prefix[:-1] + b"\0", prefix + b"\xff"):
        if candidate:
            code = sort_code(("S", "S"), (candidate, b"x"), 2)
            assert within(code, comparisons) == candidate.startswith(prefix)


def test_control_the_bare_prefix_of_a_code_finds_too_much() -> None:
    """Filling looks like a zero byte: "ab" is no string that begins with "ab\\0"."""
    code, prefix = sort_code(("S", "S"), (b"ab", b"x"), 2), b"ab\0"
    assert code.startswith(prefix)
    assert not within(code, sort_bounds(("S", "S"), (), "begins_with", (prefix,)))


@given(st.sampled_from(KEY_TYPES), st.data())
def test_one_attribute_is_its_own_bytes_and_its_own_comparison(
    kind: KeyType, data: st.DataObject
) -> None:
    (low,), (high,) = sorted(data.draw(sort_keys([kind], 2)))
    assert sort_code([kind], [low], 1) == low
    assert keys.hash_of_parts([low]) == keys.hash_of(low)
    assert sort_bounds([kind], [low]) == (("=", low),)
    assert sort_bounds([kind], [], "<=", [low]) == (("<=", low),)
    assert sort_bounds([kind], [], "between", [low, high]) == ((">=", low), ("<=", high))
    assert sort_bounds([kind], []) == ()


def test_more_conditions_than_attributes() -> None:
    with pytest.raises(ValueError, match="2 conditions on a sort key of 1 attributes"):
        sort_bounds(["S"], [b"a"], "<", [b"b"])


def test_the_codes_never_change() -> None:
    types: tuple[KeyType, ...] = ("S", "N", "B")
    parts = (b"12345678", keys.encode_number(parse_number("5")), b"\0\xff123456789")
    assert sort_code(types, parts, 3) == (
        b"12345678\x08\xc0\x82\x60\0\xff123456\x09789\0\0\0\0\0\x03"
    )
    assert keys.hash_of_parts([b"ab", b"c"]) == keys.hash_of(b"\0\x02ab\0\x01c")


@given(st.data())
def test_hash_keys_of_several_attributes_never_collide(data: st.DataObject) -> None:
    types = data.draw(several_types)
    a, b = data.draw(sort_keys(types, 2))
    assert (keys.hash_of_parts(a) == keys.hash_of_parts(b)) == (a == b)
    assert keys.hash_of_parts((b"ab", b"c")) != keys.hash_of_parts((b"a", b"bc"))


def lengths_within_the_limit(parts: int) -> list[tuple[int, ...]]:
    """Of strings that make the longest codes: one byte in a group of its own costs most."""
    rest = keys.MAX_SORT_KEY
    return [
        (*small, rest - sum(small))
        for small in itertools.product((1, 2, 8, 9, 17, 256), repeat=parts - 1)
    ]


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_the_column_holds_the_longest_code(parts: int) -> None:
    longest = max(
        len(sort_code(["S"] * parts, [b"x" * n for n in lengths], parts))
        for lengths in lengths_within_the_limit(parts)
    )
    assert longest <= keys.MAX_SORT_CODE
    assert parts < 4 or longest == keys.MAX_SORT_CODE
    row_key = keys.HASH_SIZE + keys.MAX_SORT_CODE + keys.HASH_SIZE + keys.MAX_SORT_KEY
    assert row_key <= 3072  # InnoDB's limit on an index key


# --- where an item lies in an index -------------------------------------------

PLACES = index_of(hash_key="country+city", sort_key="year:N+street", projection=None)
ITEM = {
    "country": {"S": "fr"}, "city": {"S": "Lyon"}, "year": {"N": "1999"}, "street": {"S": "rue"},
}  # fmt: skip


def test_an_item_that_lacks_any_key_attribute_is_not_in_the_index() -> None:
    place = PLACES.key_of(ITEM)
    assert place is not None
    assert place.hash == keys.hash_of_parts([b"fr", b"Lyon"])
    for name in PLACES.key_names:
        rest = {other: value for other, value in ITEM.items() if other != name}
        assert PLACES.key_of(rest) is None
        PLACES.check(rest)


@pytest.mark.parametrize("name", ["country", "city", "year", "street"])
def test_a_wrong_type_in_any_key_attribute_is_refused(name: str) -> None:
    wrong: dict[str, dict[str, Any]] = {**ITEM, name: {"BOOL": True}}
    assert PLACES.key_of(wrong) is None
    with pytest.raises(InvalidItem, match=rf"Type mismatch for Index Key {name} Expected: "):
        PLACES.check(wrong)
    # Even where the item is not in the index for want of another one.
    del wrong["country" if name == "street" else "street"]
    with pytest.raises(InvalidItem, match=f"Type mismatch for Index Key {name}"):
        PLACES.check(wrong)


@pytest.mark.parametrize(
    ("first", "second", "limit"), [("country", "city", 2048), ("street", "house", 1024)]
)
def test_the_attributes_of_a_key_share_its_size_limit(first: str, second: str, limit: int) -> None:
    index = index_of(hash_key="country+city", sort_key="street+house")
    whole = {name: {"S": "x"} for name in index.key_names}
    fits = {**whole, first: {"S": "x" * 1000}, second: {"S": "y" * (limit - 1000)}}
    assert index.key_of(fits) is not None
    too_long = {**fits, first: {"S": "x" * 1001}}
    assert index.key_of(too_long) is None
    with pytest.raises(
        InvalidItem,
        match=f"Size limit exceeded for Index Key {first}, {second} Actual Size: {limit + 1} bytes "
        f"Max Size: {limit} bytes IndexName: index_1",
    ):
        index.check(too_long)


def test_all_key_attributes_are_projected() -> None:
    index = index_of(
        hash_key="country+city", sort_key="year:N+street", projection=Projection(type="KEYS_ONLY")
    )
    item = {**ITEM, "h": {"S": "1"}, "s": {"S": "2"}, "other": {"S": "x"}}
    assert set(index.project(item)) == {*ITEM, "h", "s"}
