"""Key bytes keep order and identity; hashes fall into slots without gaps."""

from __future__ import annotations

import base64
import itertools
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mynamo.errors import CorruptData, InvalidItem, InvalidRequest
from mynamo.schemas import keys
from mynamo.schemas.keys import KeyType, decode_key, decode_number, encode_key, encode_number
from mynamo.schemas.numbers import (
    MAX_DIGITS,
    MAX_EXPONENT,
    MIN_EXPONENT,
    canonical_number,
    parse_number,
)
from tests.strategies import (
    LARGEST,
    SMALLEST,
    binaries,
    key_values,
    numbers,
    scaled,
    texts,
)

KEY_TYPES: tuple[KeyType, ...] = ("S", "N", "B")


def keeps_order(encode: Callable[[Decimal], bytes], ordered: list[Decimal]) -> bool:
    codes = [encode(number) for number in ordered]
    return all(a < b for a, b in itertools.pairwise(codes))


def spread_of_numbers() -> list[Decimal]:
    """Ascending: every exponent, both signs, prefixes and neighbours up to 38 digits."""
    generator = random.Random(1)
    fixed = [1, 10**37 + 1, 11, 101, 12, 121, 5, 99, 10**MAX_DIGITS - 1, 10**MAX_DIGITS - 2]
    found = {Decimal(0)}
    for exponent in range(MIN_EXPONENT, MAX_EXPONENT + 1):
        drawn = [generator.randrange(1, 10 ** generator.randint(1, MAX_DIGITS)) for _ in range(8)]
        for sign, coefficient in itertools.product((0, 1), fixed + drawn):
            found.add(scaled(sign, coefficient, exponent))
    return sorted(found)


def test_number_codes_keep_order_over_all_exponents() -> None:
    assert keeps_order(encode_number, spread_of_numbers())


@given(numbers(), numbers())
def test_number_codes_compare_as_the_numbers_do(a: Decimal, b: Decimal) -> None:
    code_a, code_b = encode_number(a), encode_number(b)
    assert (code_a < code_b, code_a == code_b) == (a < b, a == b)
    assert a == b or not code_a.startswith(code_b)


@given(numbers())
def test_number_codes_decode_to_the_same_number(number: Decimal) -> None:
    code = encode_number(number)
    assert decode_number(code) == number
    assert 1 <= len(code) <= 22
    assert decode_key("N", code) == {"N": canonical_number(number)}


def test_number_codes_written_out() -> None:
    codes = {
        "0": "80",
        "1": "c08220",
        "10": "c08320",
        "12": "c0832300",
        "12.1": "c0832320",
        "-12": "407cdcff",
        "-1": "407ddf",
        "0.05": "c08060",
        str(SMALLEST): "c00020",
        str(LARGEST): "c0ff" + "aa" * 19 + "00",
    }
    assert {text: encode_number(Decimal(text)).hex() for text in codes} == codes


def test_one_number_has_one_code() -> None:
    spellings = ["1", "1.0", "1e0", "10E-1", "0.1E1", "001", "+1"]
    assert len({encode_key("N", {"N": text}) for text in spellings}) == 1
    assert encode_number(Decimal("-0")) == encode_number(Decimal(0))


@pytest.mark.parametrize("value", ["1E126", "1E-131", "NaN", "1" + "1" * 38])
def test_only_dynamodb_numbers_have_codes(value: str) -> None:
    with pytest.raises(InvalidItem):
        encode_number(Decimal(value))


@pytest.mark.parametrize(
    "code",
    [
        *("", "00", "ff", "8000", "c0", "c082", "c08200", "c0822000", "c082100000", "c0821000"),
        *("c08202", "c082b0", "40", "407dd0", "407dff", "417ddf", "c082" + "22" * 20 + "00"),
    ],
)
def test_what_is_no_code_is_corrupt(code: str) -> None:
    with pytest.raises(CorruptData):
        decode_number(bytes.fromhex(code))


@given(st.binary(max_size=24))
def test_any_bytes_decode_to_what_encodes_to_them_or_not_at_all(data: bytes) -> None:
    try:
        number = decode_number(data)
    except CorruptData:
        return
    assert encode_number(number) == data


def naive_float(number: Decimal) -> bytes:
    return f"{float(number) + 1e150:.3f}".encode()


def naive_length_first(number: Decimal) -> bytes:
    text = f"{number:f}".encode()
    return bytes([len(text)]) + text


def without_end_mark(number: Decimal) -> bytes:
    return encode_number(number).rstrip(b"\xff" if number < 0 else b"\x00")


@pytest.mark.parametrize("naive", [naive_float, naive_length_first, without_end_mark])
def test_control_naive_codes_fail_the_same_check(naive: Callable[[Decimal], bytes]) -> None:
    ordered = [number for number in spread_of_numbers() if abs(number.adjusted()) < 100]
    assert keeps_order(encode_number, ordered)
    assert not keeps_order(naive, ordered)


# --- keys of all types --------------------------------------------------------


@pytest.mark.parametrize("key_type", KEY_TYPES)
@given(data=st.data())
def test_keys_decode_to_the_same_value(key_type: KeyType, data: st.DataObject) -> None:
    value = data.draw(key_values(key_type))
    assert decode_key(key_type, encode_key(key_type, value)) == value


@given(texts(), texts())
def test_strings_order_as_utf8(a: str, b: str) -> None:
    code_a, code_b = encode_key("S", {"S": a}), encode_key("S", {"S": b})
    assert (code_a < code_b, code_a == code_b) == (a.encode() < b.encode(), a == b)


@given(binaries(), binaries())
def test_binary_orders_as_unsigned_bytes(a: bytes, b: bytes) -> None:
    codes = [encode_key("B", {"B": base64.b64encode(raw).decode()}) for raw in (a, b)]
    assert (codes[0] < codes[1], codes[0] == codes[1]) == (list(a) < list(b), a == b)


CompositeKey = tuple[dict[str, str], dict[str, str]]


def row_key(types: tuple[KeyType, KeyType], key: CompositeKey) -> tuple[bytes, bytes]:
    """What MySQL's primary key holds of an item."""
    return keys.hash_of(encode_key(types[0], key[0])), encode_key(types[1], key[1])


@pytest.mark.parametrize("types", list(itertools.product(KEY_TYPES, KEY_TYPES)))
@given(data=st.data())
def test_keys_of_different_items_never_collide(
    types: tuple[KeyType, KeyType], data: st.DataObject
) -> None:
    composite = st.tuples(key_values(types[0]), key_values(types[1]))
    a, b = data.draw(composite), data.draw(composite)
    assert (row_key(types, a) == row_key(types, b)) == (a == b)


def test_control_joining_with_a_delimiter_collides() -> None:
    a: CompositeKey = ({"S": "a#b"}, {"S": "c"})
    b: CompositeKey = ({"S": "a"}, {"S": "b#c"})
    assert "#".join((a[0]["S"], a[1]["S"])) == "#".join((b[0]["S"], b[1]["S"]))
    assert row_key(("S", "S"), a) != row_key(("S", "S"), b)


@pytest.mark.parametrize(
    ("key_type", "value", "message"),
    [
        ("S", {"N": "1"}, "Type mismatch for key: expected S actual N"),
        ("N", {"S": "1"}, "Type mismatch for key: expected N actual S"),
        ("B", {"NULL": True}, "Type mismatch for key: expected B actual NULL"),
        ("S", {}, "Type mismatch for key: expected S actual nothing"),
        ("S", {"S": "x", "N": "1"}, "Type mismatch for key: expected S actual S, N"),
        ("S", {"S": 1}, "must be text, not int"),
        ("N", {"N": 1}, "must be text, not int"),
        ("N", {"N": "one"}, "cannot be converted to a numeric value: one"),
        ("B", {"B": "%"}, "Base64 encoded binary is not valid"),
        ("B", {"B": b"QQ=="}, "must be a JSON string"),
        ("S", {"S": "\ud800"}, "lone surrogate"),
    ],
)
def test_bad_keys_are_refused(key_type: KeyType, value: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidItem, match=message):
        encode_key(key_type, value)


def test_bytes_that_are_no_text_are_corrupt() -> None:
    with pytest.raises(CorruptData):
        decode_key("S", b"\xff")


# --- hashes, slots, segments, prefixes ----------------------------------------


def test_the_hash_never_changes() -> None:
    assert keys.hash_of(b"").hex() == "cae66941d9efbd404e4d88758ea67670"
    assert keys.hash_of(b"mynamo").hex() == "b02cd6f576c667e09e3f8a9b6e7b6040"


@given(st.binary(min_size=16, max_size=16))
def test_a_slot_is_the_first_12_bits(digest: bytes) -> None:
    slot = keys.slot_of(digest)
    assert slot == int(digest.hex()[:3], 16)
    low, high = keys.slot_range(slot, slot)
    assert low <= digest
    assert high is None or digest < high


@given(st.tuples(st.integers(0, 4095), st.integers(0, 4095)).map(sorted), st.integers(0, 4095))
def test_a_slot_range_holds_its_slots_and_no_others(bounds: list[int], slot: int) -> None:
    low, high = keys.slot_range(bounds[0], bounds[1])
    for digest in (slot << 116, ((slot + 1) << 116) - 1):
        raw = digest.to_bytes(16, "big")
        assert (low <= raw and (high is None or raw < high)) == (bounds[0] <= slot <= bounds[1])


def test_the_highest_hash_is_in_the_last_slot_and_segment() -> None:
    assert keys.slot_of(b"\xff" * 16) == keys.SLOTS - 1
    assert keys.slot_range(0, 4095) == (bytes(16), None)
    assert keys.slot_range(0, 4094) == (bytes(16), b"\xff\xf0" + bytes(14))
    assert keys.segment_range(6, 7)[1] is None


@pytest.mark.parametrize("bounds", [(-1, 3), (3, 2), (0, 4096)])
def test_what_is_no_range_of_slots(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not a range of slots"):
        keys.slot_range(*bounds)


@pytest.mark.parametrize("total", [1, 2, 3, 7, 1000, 4096, 5000])
def test_segments_cover_every_hash_once(total: int) -> None:
    ranges = [keys.segment_range(segment, total) for segment in range(total)]
    assert ranges[0][0] == bytes(16)
    assert ranges[-1][1] is None
    for (low, high), (next_low, _) in itertools.pairwise(ranges):
        assert low < cast(bytes, high) == next_low


def test_a_million_segments_and_no_more() -> None:
    assert keys.segment_range(999_999, 1_000_000)[1] is None
    for segment, total in ((0, 0), (0, 1_000_001), (4, 4), (-1, 4)):
        with pytest.raises(InvalidRequest, match="Segment"):
            keys.segment_range(segment, total)


@given(binaries(max_size=6), binaries(max_size=8))
def test_prefix_end_splits_the_prefixed_from_the_rest(prefix: bytes, text: bytes) -> None:
    end = keys.prefix_end(prefix)
    for candidate in (text, prefix + text):
        within = prefix <= candidate and (end is None or candidate < end)
        assert within == candidate.startswith(prefix)


def test_prefix_end_written_out() -> None:
    ends = {b"": None, b"\xff\xff": None, b"a": b"b", b"a\xff": b"b", b"a\xfe": b"a\xff"}
    assert {prefix: keys.prefix_end(prefix) for prefix in ends} == ends


@given(numbers())
def test_number_keys_fit_any_key_column(number: Decimal) -> None:
    assert len(encode_number(parse_number(number))) <= keys.MAX_SORT_KEY < keys.MAX_HASH_KEY
