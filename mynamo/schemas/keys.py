"""Keys as bytes: their order, their hash, and the slot the hash falls in.

A key becomes bytes whose plain comparison is DynamoDB's order of keys: UTF-8 for
strings, unsigned bytes for binary, numeric order for numbers. Two different keys
of one type never share their bytes. Keys are never joined with a delimiter: a column
holds one key, or, where a GSI's sort key has several attributes, a code that keeps
them apart (see `sort_code`).

Numbers become bytes whose plain comparison is the order of the numbers.

The number code, in hexadecimal digits:

    zero        80
    positive    c0  exponent + 130   each digit + 1    0 or 00
    negative    40  125 - exponent   14 - each digit   f or ff

The exponent is that of d.ddd x 10^exponent, one byte. Digits are the significant
ones without trailing zeros, two to a byte. The end mark sorts below every digit
(above, for negatives), so 12 < 12.1 and -12.1 < -12, and no code is the beginning
of another. 3 to 22 bytes; `SELECT HEX(...)` can be read by eye.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from mynamo.errors import CorruptData, InvalidItem, InvalidRequest
from mynamo.schemas.numbers import MAX_EXPONENT, MIN_EXPONENT, canonical_number
from mynamo.schemas.values import base64_of, binary_of

__all__ = [
    "HASH_SIZE",
    "MAX_HASH_KEY",
    "MAX_KEY_PARTS",
    "MAX_SEGMENTS",
    "MAX_SORT_CODE",
    "MAX_SORT_KEY",
    "SLOTS",
    "Comparison",
    "KeyType",
    "RangeOperator",
    "decode_key",
    "decode_number",
    "decode_text",
    "encode_key",
    "encode_number",
    "encode_text",
    "hash_of",
    "hash_of_parts",
    "prefix_end",
    "segment_range",
    "slot_of",
    "slot_range",
    "sort_bounds",
    "sort_code",
]


_ZERO = b"\x80"
_DIGITS = "0123456789"
_POSITIVE_DIGITS = "123456789a"
_NEGATIVE_DIGITS = "edcba98765"
_TO_POSITIVE = str.maketrans(_DIGITS, _POSITIVE_DIGITS)
_TO_NEGATIVE = str.maketrans(_DIGITS, _NEGATIVE_DIGITS)
_FROM_POSITIVE = str.maketrans(_POSITIVE_DIGITS, _DIGITS)
_FROM_NEGATIVE = str.maketrans(_NEGATIVE_DIGITS, _DIGITS)


def encode_number(value: Decimal) -> bytes:
    """The ordered code of a number, 1 to 22 bytes: codes compare as the numbers
    do, and 1 and 1.0 share one code.

    Raises InvalidItem if the value is not a DynamoDB number.
    """
    return encode_text(canonical_number(value))


def decode_number(data: bytes) -> Decimal:
    """The number of a code. Raises CorruptData if `encode_number` never makes it."""
    return Decimal(decode_text(data))


@lru_cache(4096)
def encode_text(text: str) -> bytes:
    """The code of a number in canonical text. A number is often in the keys of several indexes."""
    if text == "0":
        return _ZERO
    negative = text[0] == "-"
    whole, _, fraction = text[negative:].partition(".")
    if whole == "0":
        digits = fraction.lstrip("0")
        exponent = len(digits) - len(fraction) - 1
    else:
        digits = (whole + fraction).rstrip("0")
        exponent = len(whole) - 1
    pad = 2 - len(digits) % 2
    if negative:
        body = digits.translate(_TO_NEGATIVE) + "f" * pad
        return bytes.fromhex(f"40{MAX_EXPONENT - exponent:02x}{body}")
    return bytes.fromhex(
        f"c0{exponent - MIN_EXPONENT:02x}{digits.translate(_TO_POSITIVE)}{'0' * pad}"
    )


def decode_text(data: bytes) -> str:
    """The canonical text of a number's code; CorruptData unless it encodes back."""
    if data == _ZERO:
        return "0"
    code = data.hex()
    if code.startswith("c0"):
        sign, exponent = "", int(code[2:4] or "0", 16) + MIN_EXPONENT
        digits = code[4:].rstrip("0").translate(_FROM_POSITIVE)
    else:
        sign, exponent = "-", MAX_EXPONENT - int(code[2:4] or "0", 16)
        digits = code[4:].rstrip("f").translate(_FROM_NEGATIVE)
    try:
        text = canonical_number(f"{sign}{digits}E{exponent - len(digits) + 1}")
    except InvalidItem:
        raise CorruptData from None
    if encode_text(text) != data:
        raise CorruptData
    return text


KeyType: TypeAlias = Literal["S", "N", "B"]

Comparison: TypeAlias = tuple[Literal["=", "<", "<=", ">", ">="], bytes]
"""How a column of key bytes compares with a bound."""
RangeOperator: TypeAlias = Literal["=", "<", "<=", ">", ">=", "between", "begins_with"]

MAX_HASH_KEY = 2048
MAX_SORT_KEY = 1024
"""Bytes; of all attributes of the key together, where it has several."""
MAX_KEY_PARTS = 4
"""Attributes of a GSI's hash key, and as many of its sort key."""
HASH_SIZE = 16
SLOTS = 4096
MAX_SEGMENTS = 1_000_000

_HASH_BITS = HASH_SIZE * 8
_SLOT_SHIFT = _HASH_BITS - 12


def encode_key(key_type: KeyType, value: Mapping[str, Any]) -> bytes:
    """The ordered bytes of a key.

    Takes the key's type in the table's definition and one attribute value in
    stored form, such as `{"S": "x"}`. Returns UTF-8, raw bytes or the number code.
    Length is not checked here: DynamoDB wants 1 to 2048 bytes of a hash key and 1
    to 1024 of a sort key, but bounds of a range may be shorter or longer.

    Raises InvalidItem if the value is of another type (the caller adds the key's
    name) or is not valid in its own.
    """
    text = value.get("S")
    if key_type == "S" and len(value) == 1 and type(text) is str and text.isascii():
        return text.encode()  # nearly every key; what follows is for the others
    if len(value) != 1 or key_type not in value:
        actual = ", ".join(map(str, value)) or "nothing"
        raise InvalidItem(f"Type mismatch for key: expected {key_type} actual {actual}")
    body = value[key_type]
    if key_type == "B":
        return binary_of(body)
    if not isinstance(body, str):
        raise InvalidItem(f"A key of type {key_type} must be text, not {type(body).__name__}")
    if key_type == "N":
        return _number_code(body)
    try:
        return body.encode()
    except UnicodeEncodeError:
        raise InvalidItem("Strings must be valid Unicode: found a lone surrogate") from None


@lru_cache(1024)  # a number is often the key of a table and of its indexes
def _number_code(text: str) -> bytes:
    return encode_text(canonical_number(text))


def decode_key(key_type: KeyType, data: bytes) -> dict[str, str]:
    """The attribute value in stored form whose key bytes these are: the inverse of
    `encode_key`. Raises CorruptData if it never makes these bytes."""
    if key_type == "N":
        return {"N": decode_text(data)}
    if key_type == "B":
        return {"B": base64_of(data)}
    try:
        return {"S": data.decode()}
    except UnicodeDecodeError:
        raise CorruptData from None


def hash_of(key: bytes) -> bytes:
    """The hash of a hash key's bytes: BLAKE2b with 16 bytes of output, no key, no
    salt. Stored in every row and the root of all routing, so it never changes."""
    return hashlib.blake2b(key, digest_size=HASH_SIZE).digest()


def hash_of_parts(parts: Sequence[bytes]) -> bytes:
    """The hash of a hash key of one to four attributes, each as `encode_key` gives it.

    One attribute hashes as `hash_of`. Of several, each is preceded by its length, so that
    ("ab", "c") and ("a", "bc") are different keys. Like `hash_of` it never changes.
    """
    if len(parts) == 1:
        return hash_of(parts[0])
    return hash_of(b"".join(len(part).to_bytes(2, "big") + part for part in parts))


def sort_code(types: Sequence[KeyType], parts: Sequence[bytes], total: int) -> bytes:
    """The bytes by which an index orders the sort keys of its items.

    A sort key of one attribute is its own bytes. One of several is the codes of its
    attributes, one after the other: numbers as they are, strings and binaries in groups of
    eight bytes, the last one filled up with zeros, each followed by a byte that says how
    many of the eight count, or 9 if another group follows. No code of an attribute is the
    beginning of another one's, so codes compare as the keys do, attribute by attribute, and
    the codes of all keys that begin with given attributes are those that begin with the
    code of these.

    Args:
        types: of the attributes, at least of those that are given.
        parts: the first attributes of the key, as `encode_key` gives them; may be fewer
            than `total`.
        total: how many attributes the index's sort key has.
    """
    if total == 1:
        return parts[0] if parts else b""
    return b"".join(
        part if kind == "N" else _in_groups(part) for kind, part in zip(types, parts, strict=False)
    )


def sort_bounds(
    types: Sequence[KeyType],
    equal: Sequence[bytes],
    operator: RangeOperator | None = None,
    bounds: Sequence[bytes] = (),
) -> tuple[Comparison, ...]:
    """The sort codes of the items that fulfil a query's conditions on a sort key.

    DynamoDB's rule for sort keys of several attributes: conditions are on the first ones,
    without a gap; all but the last condition are equalities.

    Args:
        types: of all attributes of the sort key; one type for a table or an LSI.
        equal: the bytes of the first attributes, which must be equal.
        operator: the condition on the attribute behind these, if there is one.
        bounds: its operands: two for `between`, else one. A prefix for `begins_with`, which
            numbers do not have.

    Returns:
        Comparisons of the column with `sort_code`s, all of which must hold; none: every
        item fulfils the conditions.

    Raises:
        ValueError: more conditions than attributes.
    """
    total = len(types)
    given = len(equal) + (operator is not None)
    if given > total:
        raise ValueError(f"{given} conditions on a sort key of {total} attributes")
    if operator == "=":
        equal, operator = (*equal, *bounds), None
    if operator is None and len(equal) == total:
        return (("=", sort_code(types, equal, total)),)
    before = sort_code(types, equal, total)
    if operator is None:
        return _from_to(before, prefix_end(before))
    codes = [sort_code(types, (*equal, bound), total) for bound in bounds]
    if operator == "begins_with":
        above = prefix_end(bounds[0])
        after = sort_code(types, (*equal, above), total) if above else prefix_end(before)
        return _from_to(codes[0], after)
    if total == 1:
        # The bytes are the whole key: what SQL calls a comparison is one.
        return (
            ((">=", codes[0]), ("<=", codes[1]))
            if operator == "between"
            else ((operator, codes[0]),)
        )
    first = prefix_end(codes[0]) if operator == ">" else codes[0]
    match operator:
        case ">" | ">=":
            return _from_to(first or b"", prefix_end(before))
        case "<":
            return _from_to(before, codes[0])
        case "<=" | "between":
            low = codes[0] if operator == "between" else before
            return _from_to(low, prefix_end(codes[-1]))


def _from_to(first: bytes, end: bytes | None) -> tuple[Comparison, ...]:
    low: tuple[Comparison, ...] = ((">=", first),) if first else ()
    return low if end is None else (*low, ("<", end))


def slot_of(hash16: bytes) -> int:
    """The slot of a hash, 0 to 4095: its first 12 bits."""
    return hash16[0] << 4 | hash16[1] >> 4


def slot_range(first: int, last: int) -> tuple[bytes, bytes | None]:
    """The hashes of the slots `first` to `last`, both included, as a half-open
    range: the smallest hash in it, and the first one above it or None if there is
    none above. Raises ValueError unless 0 <= first <= last <= 4095."""
    if not 0 <= first <= last < SLOTS:
        raise ValueError(f"not a range of slots: {first} to {last}")
    return _hash_at(first << _SLOT_SHIFT), _bound_at((last + 1) << _SLOT_SHIFT)


def segment_range(segment: int, total: int) -> tuple[bytes, bytes | None]:
    """The hashes of one segment of a parallel scan, as a half-open range like that
    of `slot_range`. The segments of one total cover every hash exactly once.

    Raises InvalidRequest unless 1 <= total <= 1,000,000 and 0 <= segment < total
    (the API reference of Scan: Segment and TotalSegments).
    """
    if not 1 <= total <= MAX_SEGMENTS:
        raise InvalidRequest(f"TotalSegments must be from 1 to {MAX_SEGMENTS}, not {total}")
    if not 0 <= segment < total:
        raise InvalidRequest(
            "The Segment parameter is zero-based and must be less than parameter "
            f"TotalSegments: Segment: {segment} is not less than TotalSegments: {total}"
        )
    return (
        _hash_at((segment << _HASH_BITS) // total),
        _bound_at((segment + 1 << _HASH_BITS) // total),
    )


def prefix_end(prefix: bytes) -> bytes | None:
    """The smallest byte string above every string that starts with `prefix`, or
    None if there is none (nothing but 0xff): the upper bound of begins_with."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None


_GROUP = 8
_MORE = b"\x09"

MAX_SORT_CODE = (_GROUP + 1) * ((MAX_SORT_KEY + MAX_KEY_PARTS * (_GROUP - 1)) // _GROUP)
"""Bytes of the longest `sort_code` of several attributes: at most seven bytes of filling in
each of them, and one byte for every eight. Number codes are shorter than the same bytes of
a string."""


def _in_groups(data: bytes) -> bytes:
    whole = (len(data) - 1) // _GROUP if data else 0
    groups = [data[i * _GROUP : (i + 1) * _GROUP] + _MORE for i in range(whole)]
    last = data[whole * _GROUP :]
    return b"".join(groups) + last.ljust(_GROUP, b"\0") + bytes([len(last)])


def _hash_at(position: int) -> bytes:
    return position.to_bytes(HASH_SIZE, "big")


def _bound_at(position: int) -> bytes | None:
    return None if position >> _HASH_BITS else _hash_at(position)
