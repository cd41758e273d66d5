"""Items, in the two forms they have here.

*Python form* is what callers hold, the types of boto3's resource layer: str,
Decimal (int on input), Binary (bytes on input), bool, None, list, dict, and sets
of str, numbers or binary. *Stored form* is DynamoDB JSON as a Python dict,
`{"name": {"S": "x"}, "data": {"B": "<base64>"}}`, canonical: numbers as
`numbers.canonical_number` writes them, base64 padded, sets sorted. Equal items
have equal stored forms and, through `dump_item`, equal bytes.

Source of the rules: Amazon DynamoDB Developer Guide, "Supported data types and
naming rules", "Item sizes and formats", "Quotas"; messages as DynamoDB words them.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping, Set
from decimal import Decimal
from typing import Any

import orjson

from mynamo.errors import CorruptData, InvalidItem
from mynamo.schemas.numbers import canonical_number
from mynamo.schemas.values import (
    ECHO,
    INVALID,
    MAX_LEVELS,
    MAX_NAME_SIZE,
    TOO_DEEP,
    Binary,
    StoredItem,
    base64_of,
    binary_of,
    checked_name,
    checked_text,
    each_attribute,
    level_within,
    normalise,
    sorted_set,
    utf8_size,
)

__all__ = [
    "MAX_ITEM_SIZE",
    "MAX_LEVELS",
    "MAX_NAME_SIZE",
    "SURELY_FITS",
    "Binary",
    "StoredItem",
    "binary_of",
    "check_size",
    "dump_item",
    "from_stored",
    "item_size",
    "load_item",
    "normalise",
    "spliced",
    "to_stored",
]


MAX_ITEM_SIZE = 400 * 1024
MAX_JSON_SIZE = 7 * 1024 * 1024
"""Bytes of an item as stored. DynamoDB counts a number like 1E-130 as 2 bytes, of which
the text has 132; an event holds two images, and must fit into a Kafka message."""
SURELY_FITS = 64 * 1024
"""Bytes as DynamoDB counts, or of an item as it came; no type takes 100 times as much as JSON."""


def item_size(stored: Mapping[str, Mapping[str, Any]]) -> int:
    """The size of a stored item in bytes, as DynamoDB counts it for its limit and
    its capacity units: names and text in UTF-8, binary as raw bytes, numbers one
    byte per two significant digits and one more (see `_number_size`), BOOL and NULL
    1, lists and maps 3 and 1 per element, sets the sum of their members.

    Source: Developer Guide, "DynamoDB item sizes and formats", which calls the figure
    for numbers approximate; the exact one as ConsumedCapacity shows it. Never more than
    `len(dump_item(stored))`.
    """
    size = 0
    for name, value in stored.items():
        ((kind, body),) = value.items()
        size += len(name) if name.isascii() else utf8_size(name)
        if kind == "S" and body.isascii():
            size += len(body)
        else:
            size += _SIZES[kind](body)
    return size


def check_size(stored: Mapping[str, Mapping[str, Any]]) -> int:
    """The size of an item that may be stored.

    Raises:
        InvalidItem: it is over 400 KB (409,600 bytes), or over 7 MiB as JSON, which takes
            tens of thousands of very small or large numbers.
    """
    size = item_size(stored)
    if size > MAX_ITEM_SIZE:
        raise InvalidItem("Item size has exceeded the maximum allowed size")
    if size > SURELY_FITS and len(orjson.dumps(stored)) > MAX_JSON_SIZE:
        raise InvalidItem(
            "Item size has exceeded the maximum allowed size: as JSON it takes more than "
            f"{MAX_JSON_SIZE} bytes; write numbers with fewer zeros, or split the item"
        )
    return size


def _size(value: Mapping[str, Any]) -> int:
    ((kind, body),) = value.items()
    return _SIZES[kind](body)


def _number_size(text: str) -> int:
    """Pairs of digits to both sides of the decimal point, as in 01 23 . 40, without those of
    zeros at either end; and one byte more, and one for a minus sign."""
    if text == "0":
        return 1
    if text[-1] != "0" and text.isdigit():
        return (len(text) + 1) // 2 + 1  # nearly every number
    whole, _, fraction = text.lstrip("-").partition(".")
    zeros = 0
    if whole == "0":
        whole = ""
        zeros = len(fraction) - len(fraction.lstrip("0"))
    elif not fraction:
        zeros = len(whole) - len(whole.rstrip("0"))
    pairs = (len(whole) + 1) // 2 + (len(fraction) + 1) // 2 - zeros // 2
    return pairs + 1 + (text[0] == "-")


def _binary_size(text: str) -> int:
    return len(text) // 4 * 3 - text[-2:].count("=")


_SIZES: dict[str, Callable[[Any], int]] = {
    "S": utf8_size,
    "N": _number_size,
    "B": _binary_size,
    "BOOL": lambda body: 1,
    "NULL": lambda body: 1,
    "L": lambda body: 3 + len(body) + sum(map(_size, body)),
    "M": lambda body: 3 + len(body) + item_size(body),
    "SS": lambda body: sum(map(utf8_size, body)),
    "NS": lambda body: sum(map(_number_size, body)),
    "BS": lambda body: sum(map(_binary_size, body)),
}


_SAFE_INT = 10**37


def to_stored(item: Mapping[str, Any]) -> StoredItem:
    """Turn an item from Python form into stored form and check all of it.

    Takes a mapping of attribute names to values. Tuples become lists, frozensets
    sets, and boto3's Binary is understood. The item's size is not checked here:
    see `check_size`.

    Raises InvalidItem: a float (use Decimal), a type DynamoDB does not have, an
    empty or mixed set, a number out of range, a name that is empty or over 65535
    bytes, text that is not valid Unicode, more than 32 levels of nesting. A note
    on the exception names the attribute.
    """
    if not isinstance(item, Mapping):
        raise InvalidItem(f"An item must be a mapping, not {type(item).__name__}")
    return each_attribute(item, _encode)


def from_stored(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Turn an item from stored form into Python form: numbers as Decimal, binary
    as Binary, sets as Python sets, lists and maps as list and dict.

    Takes what `to_stored`, `normalise` or `load_item` returned. Raises
    CorruptData if it is not in stored form.
    """
    try:
        return {name: _decode(value) for name, value in stored.items()}
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise CorruptData from None


def dump_item(stored: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Write a stored item as compact UTF-8 JSON with sorted names: equal items
    give equal bytes. Raises InvalidItem if JSON cannot express it."""
    try:
        return orjson.dumps(stored, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise InvalidItem(f"The item cannot be written as JSON: {error}") from None


def load_item(data: bytes) -> StoredItem:
    """Read what `dump_item` wrote. Raises CorruptData if it is not JSON or not an
    object of one-key objects; values inside are taken as they are."""
    try:
        stored = orjson.loads(data)
    except ValueError:
        raise CorruptData from None
    if type(stored) is not dict:
        raise CorruptData
    for value in stored.values():
        if type(value) is not dict or len(value) != 1:
            raise CorruptData
    return stored


def spliced(data: bytes) -> bytes:
    """What `dump_item` wrote, to stand in an answer as it is. Raises CorruptData if it does not
    even look like an item; `load_item` looks further."""
    if data[:2] != b'{"' or data[-2:] != b"}}":
        raise CorruptData
    return data


def _encode(value: Any, level: int) -> dict[str, Any]:
    if level > MAX_LEVELS:
        raise InvalidItem(TOO_DEEP)
    encoder = _ENCODERS.get(type(value)) or _encoder_for_subclass(value)
    return encoder(value, level)


def _encoder_for_subclass(value: Any) -> Callable[[Any, int], dict[str, Any]]:
    if _is_boto3_binary(value):
        return _encode_boto3_binary
    for base in (str, int, float, Decimal, bytes, bytearray, list, tuple, Mapping, Set):
        if isinstance(value, base):
            return _ENCODERS[base]
    raise InvalidItem(f'Unsupported type "{type(value)}" for value "{value!r:.{ECHO}}"')


def _is_boto3_binary(value: Any) -> bool:
    return type(value).__name__ == "Binary" and isinstance(
        getattr(value, "value", None), bytes | bytearray
    )


def _encode_boto3_binary(value: Any, _: int) -> dict[str, Any]:
    return {"B": base64_of(value.value)}


def _encode_number(value: Decimal, _: int) -> dict[str, Any]:
    return {"N": canonical_number(value)}


def _encode_int(value: int, _: int) -> dict[str, Any]:
    if -_SAFE_INT < value < _SAFE_INT:
        return {"N": int.__repr__(value)}
    return {"N": canonical_number(value)}


def _encode_list(value: list[Any] | tuple[Any, ...], level: int) -> dict[str, Any]:
    level = level_within(level)
    return {"L": [_encode(member, level) for member in value]}


def _encode_map(value: Mapping[Any, Any], level: int) -> dict[str, Any]:
    level = level_within(level)
    return {"M": {checked_name(name): _encode(member, level) for name, member in value.items()}}


def _encode_set(value: Set[Any], level: int) -> dict[str, Any]:
    kinds = set()
    members = []
    for member in value:
        ((kind, text),) = _encode(member, level).items()
        kinds.add(kind)
        members.append(text)
    if not members:
        raise InvalidItem(f"{INVALID}A set may not be empty")
    if len(kinds) > 1 or not kinds <= {"S", "N", "B"}:
        raise InvalidItem(
            "A set must hold only strings, only numbers or only binary values, "
            f"not {', '.join(sorted(kinds))}"
        )
    return sorted_set(f"{kind}S", members)


_ENCODERS: dict[type, Callable[[Any, int], dict[str, Any]]] = {
    str: lambda value, _: {"S": checked_text(value)},
    int: _encode_int,
    float: _encode_number,  # which refuses it and says what to use
    Decimal: _encode_number,
    bool: lambda value, _: {"BOOL": value},
    type(None): lambda value, _: {"NULL": True},
    Binary: lambda value, _: {"B": base64_of(value)},
    bytes: lambda value, _: {"B": base64_of(value)},
    bytearray: lambda value, _: {"B": base64_of(value)},
    list: _encode_list,
    tuple: _encode_list,
    dict: _encode_map,
    Mapping: _encode_map,
    set: _encode_set,
    frozenset: _encode_set,
    Set: _encode_set,
}


def _decode(value: Mapping[str, Any]) -> Any:
    ((kind, body),) = value.items()
    return _DECODERS[kind](body)


def _binary(text: str) -> Binary:
    return Binary(binascii.a2b_base64(text))


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "S": lambda body: body,
    "N": Decimal,
    "B": _binary,
    "BOOL": lambda body: body,
    "NULL": lambda body: None,
    "L": lambda body: [_decode(member) for member in body],
    "M": lambda body: {name: _decode(member) for name, member in body.items()},
    "SS": set,
    "NS": lambda body: set(map(Decimal, body)),
    "BS": lambda body: set(map(_binary, body)),
}
