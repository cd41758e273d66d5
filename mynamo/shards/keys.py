"""Keys as bytes: their order, their hash, and the slot the hash falls in.

A key becomes bytes whose plain comparison is DynamoDB's order of keys: UTF-8 for
strings, unsigned bytes for binary, numeric order for numbers. Two different keys
of one type never share their bytes. A column holds one key, so keys are never
joined with a delimiter.

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
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from mynamo.errors import CorruptData, InvalidItem, InvalidRequest
from mynamo.schemas.numbers import MAX_EXPONENT, MIN_EXPONENT, canonical_number
from mynamo.schemas.values import base64_of, binary_of

__all__ = [
    "HASH_SIZE",
    "MAX_HASH_KEY",
    "MAX_SEGMENTS",
    "MAX_SORT_KEY",
    "SLOTS",
    "KeyType",
    "decode_key",
    "decode_number",
    "encode_key",
    "encode_number",
    "hash_of",
    "prefix_end",
    "segment_range",
    "slot_of",
    "slot_range",
]

KeyType: TypeAlias = Literal["S", "N", "B"]

MAX_HASH_KEY = 2048
MAX_SORT_KEY = 1024
HASH_SIZE = 16
SLOTS = 4096
MAX_SEGMENTS = 1_000_000

_HASH_BITS = HASH_SIZE * 8
_SLOT_SHIFT = _HASH_BITS - 12

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
    return _encode_text(canonical_number(value))


def decode_number(data: bytes) -> Decimal:
    """The number of a code. Raises CorruptData if `encode_number` never makes it."""
    return Decimal(_decode_text(data))


def encode_key(key_type: KeyType, value: Mapping[str, Any]) -> bytes:
    """The ordered bytes of a key.

    Takes the key's type in the table's definition and one attribute value in
    stored form, such as `{"S": "x"}`. Returns UTF-8, raw bytes or the number code.
    Length is not checked here: DynamoDB wants 1 to 2048 bytes of a hash key and 1
    to 1024 of a sort key, but bounds of a range may be shorter or longer.

    Raises InvalidItem if the value is of another type (the caller adds the key's
    name) or is not valid in its own.
    """
    if len(value) != 1 or key_type not in value:
        actual = ", ".join(map(str, value)) or "nothing"
        raise InvalidItem(f"Type mismatch for key: expected {key_type} actual {actual}")
    body = value[key_type]
    if key_type == "B":
        return binary_of(body)
    if not isinstance(body, str):
        raise InvalidItem(f"A key of type {key_type} must be text, not {type(body).__name__}")
    if key_type == "N":
        return _encode_text(canonical_number(body))
    try:
        return body.encode()
    except UnicodeEncodeError:
        raise InvalidItem("Strings must be valid Unicode: found a lone surrogate") from None


def decode_key(key_type: KeyType, data: bytes) -> dict[str, str]:
    """The attribute value in stored form whose key bytes these are: the inverse of
    `encode_key`. Raises CorruptData if it never makes these bytes."""
    if key_type == "N":
        return {"N": _decode_text(data)}
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


def _hash_at(position: int) -> bytes:
    return position.to_bytes(HASH_SIZE, "big")


def _bound_at(position: int) -> bytes | None:
    return None if position >> _HASH_BITS else _hash_at(position)


def _encode_text(text: str) -> bytes:
    """The code of a number in canonical text."""
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


def _decode_text(data: bytes) -> str:
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
    if _encode_text(text) != data:
        raise CorruptData
    return text
