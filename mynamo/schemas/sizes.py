"""The size of an item as DynamoDB counts it, and the limit on it.

Source: Amazon DynamoDB Developer Guide, "DynamoDB item sizes and formats" and
"Quotas". `mynamo.schemas.items` is the module to import from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from mynamo.errors import InvalidItem
from mynamo.schemas.values import utf8_size

__all__ = ["MAX_ITEM_SIZE", "SURELY_FITS", "check_size", "item_size"]

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
