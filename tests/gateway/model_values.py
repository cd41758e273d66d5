"""The model's values: pairs of a type and its content, with DynamoDB's order and limits.

    ("S", str)  ("N", Decimal)  ("B", bytes)  ("BOOL", bool)  ("NULL", True)
    ("SS" | "NS" | "BS", frozenset)  ("L", list of values)  ("M", dict of values)

Nothing of mynamo is imported here: the model must not share its mistakes.
"""

from __future__ import annotations

import base64
from decimal import Context, Decimal
from typing import Any, TypeAlias

Value: TypeAlias = tuple[str, Any]
Item: TypeAlias = dict[str, Value]

SETS = ("SS", "NS", "BS")
EXACT = Context(prec=1000)


def item_from_wire(wire: dict[str, Any]) -> Item:
    return {name: from_wire(value) for name, value in wire.items()}


def item_to_wire(item: Item) -> dict[str, Any]:
    return {name: to_wire(value) for name, value in item.items()}


def from_wire(wire: dict[str, Any]) -> Value:
    ((kind, body),) = wire.items()
    match kind:
        case "N":
            return kind, Decimal(body)
        case "B":
            return kind, base64.b64decode(body)
        case "SS":
            return kind, frozenset(body)
        case "NS":
            return kind, frozenset(map(Decimal, body))
        case "BS":
            return kind, frozenset(map(base64.b64decode, body))
        case "L":
            return kind, [from_wire(member) for member in body]
        case "M":
            return kind, item_from_wire(body)
    return kind, body


def to_wire(value: Value) -> dict[str, Any]:
    kind, content = value
    match kind:
        case "N":
            return {kind: str(content)}
        case "B":
            return {kind: base64.b64encode(content).decode()}
        case "SS":
            return {kind: sorted(content)}
        case "NS":
            return {kind: [str(number) for number in sorted(content)]}
        case "BS":
            return {kind: [base64.b64encode(member).decode() for member in sorted(content)]}
        case "L":
            return {kind: [to_wire(member) for member in content]}
        case "M":
            return {kind: item_to_wire(content)}
    return {kind: content}


def order(value: Value) -> Any:
    """What a string, number or binary value sorts by among its kind."""
    kind, content = value
    return content.encode() if kind == "S" else content


def below(left: Value, right: Value) -> bool:
    """Whether both are of one type that has an order, and the left one is smaller."""
    return left[0] == right[0] and left[0] in ("S", "N", "B") and order(left) < order(right)


def representable(number: Decimal) -> bool:
    """Whether it has at most 38 significant digits and a magnitude in DynamoDB's range; of a
    zero as it is written that is its exponent."""
    if not number:
        return -130 <= number.adjusted() <= 125
    digits = len(EXACT.normalize(number).as_tuple().digits)
    return digits <= 38 and -130 <= number.adjusted() <= 125


def size_of_item(item: Item) -> int:
    """Bytes, by the Developer Guide's "DynamoDB item sizes and formats"."""
    return sum(len(name.encode()) + size_of(value) for name, value in item.items())


def size_of(value: Value) -> int:
    kind, content = value
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return _size_of_number(content)
        case "B":
            return len(content)
        case "SS":
            return sum(len(member.encode()) for member in content)
        case "NS":
            return sum(map(_size_of_number, content))
        case "BS":
            return sum(map(len, content))
        case "L":
            return 3 + sum(1 + size_of(member) for member in content)
        case "M":
            return 3 + sum(1 + len(name.encode()) + size_of(v) for name, v in content.items())
    return 1


def _size_of_number(number: Decimal) -> int:
    """One byte for each digit to base 100 that is not a zero at an end, and one; zero takes
    one byte. The guide leaves this open; ConsumedCapacity shows it."""
    if not number:
        return 1
    _, digits, exponent = EXACT.normalize(number).as_tuple()
    assert isinstance(exponent, int)
    return (len(digits) + exponent % 2 + 1) // 2 + 1 + (number < 0)
