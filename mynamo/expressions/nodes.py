"""The nodes of conditions: operands (paths, values, sizes) and the predicates over them.

Every node is bound: it holds attribute names and stored values, no placeholders. They are
made from text by the binder, and from the parameters that expressions replaced by
`mynamo.expressions.legacy`. Operands answer `value(item)`, a value in stored form or None
where the item has none; predicates answer `holds(item)`. Neither raises.

Stored form is canonical, so equal values are equal dicts: numbers by value, sets
whatever order they came in, lists and maps deeply.
"""

from __future__ import annotations

import binascii
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, TypeAlias

from mynamo.schemas.values import StoredItem

__all__ = [
    "And",
    "AttributeExists",
    "AttributeNotExists",
    "AttributeType",
    "BeginsWith",
    "Between",
    "Comparison",
    "Contains",
    "In",
    "Literal",
    "Not",
    "Operand",
    "Or",
    "Path",
    "Predicate",
    "Size",
    "Value",
    "member",
    "ordered",
    "path_text",
]


Value: TypeAlias = dict[str, Any]
"""One attribute value in stored form, such as `{"S": "x"}`."""


class Operand(Protocol):
    """Something that has a value in an item."""

    def value(self, item: StoredItem) -> Value | None:
        """The value in this item; None if it has none."""

    def paths(self) -> Iterator[Path]:
        """The document paths it looks at."""


@dataclass(slots=True)
class Path:
    """A document path such as `a.b[0]`.

    Attributes:
        name: of the top-level attribute.
        rest: what follows: names of map members and indexes of list elements.
    """

    name: str
    rest: tuple[str | int, ...] = ()

    def value(self, item: StoredItem) -> Value | None:
        value = item.get(self.name)
        for part in self.rest:
            if value is None:
                return None
            value = member(value, part)
        return value

    def paths(self) -> Iterator[Path]:
        yield self

    @property
    def parts(self) -> tuple[str | int, ...]:
        return (self.name, *self.rest)

    def __str__(self) -> str:
        """As DynamoDB's messages write it: `[a, b, [0]]`."""
        return path_text(self.parts)


def path_text(parts: tuple[str | int, ...]) -> str:
    """A path as DynamoDB's messages write it: `[a, b, [0]]`."""
    return f"[{', '.join(f'[{part}]' if type(part) is int else str(part) for part in parts)}]"


def member(value: Value, part: str | int) -> Value | None:
    """The member of a map or the element of a list; None if there is no such thing."""
    found: Value | None
    if type(part) is int:
        elements = value.get("L")
        found = elements[part] if elements is not None and part < len(elements) else None
    else:
        members = value.get("M")
        found = members.get(part) if members is not None else None
    return found


@dataclass(slots=True)
class Literal:
    """A value that came with the request."""

    constant: Value

    def value(self, item: StoredItem) -> Value | None:
        return self.constant

    def paths(self) -> Iterator[Path]:
        return iter(())


@dataclass(slots=True)
class Size:
    """`size(operand)`: a number; no value for numbers, BOOL, NULL and what is missing.

    Text counts in UTF-16 units, as DynamoDB's Java does: "é" is 1, and what takes a
    surrogate pair is 2. Binary counts in bytes, sets, lists and maps in elements.
    """

    operand: Operand

    def value(self, item: StoredItem) -> Value | None:
        value = self.operand.value(item)
        if value is None:
            return None
        ((kind, body),) = value.items()
        measure = _SIZES.get(kind)
        return {"N": str(measure(body))} if measure else None

    def paths(self) -> Iterator[Path]:
        return self.operand.paths()


def _text_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _binary_size(text: str) -> int:
    return len(text) // 4 * 3 - text[-2:].count("=")


_SIZES: dict[str, Callable[[Any], int]] = {
    "S": _text_size,
    "B": _binary_size,
    "SS": len,
    "NS": len,
    "BS": len,
    "L": len,
    "M": len,
}


class Predicate(Protocol):
    """Something that holds for an item or does not."""

    def holds(self, item: StoredItem) -> bool:
        """Whether it holds for this item."""

    def paths(self) -> Iterator[Path]:
        """The document paths it looks at."""


@dataclass(slots=True)
class Comparison:
    """`left operator right`, the operator one of `=`, `<>`, `<`, `<=`, `>`, `>=`.

    `=` and `<>` compare any two values. The others hold only between two strings, two
    numbers or two binary values. Nothing equals, or is above or below, what is missing.
    """

    operator: str
    left: Operand
    right: Operand

    def holds(self, item: StoredItem) -> bool:
        left = self.left.value(item)
        right = self.right.value(item)
        if self.operator == "=":
            return left is not None and left == right
        if self.operator == "<>":
            return left is None or left != right
        return ordered(_ORDERS[self.operator], left, right)

    def paths(self) -> Iterator[Path]:
        yield from self.left.paths()
        yield from self.right.paths()


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SORTABLE: dict[str, Callable[[str], Any]] = {
    "S": str,  # code points, which is UTF-8 order
    "N": Decimal,
    "B": binascii.a2b_base64,
}


def ordered(order: Callable[[Any, Any], bool], left: Value | None, right: Value | None) -> bool:
    """Whether two values are of one type that has an order, and in this order."""
    if left is None or right is None:
        return False
    ((kind, body),) = left.items()
    other = right.get(kind)
    sortable = _SORTABLE.get(kind)
    if other is None or sortable is None:
        return False
    return order(sortable(body), sortable(other))


@dataclass(slots=True)
class Between:
    """`operand BETWEEN low AND high`, both bounds included."""

    operand: Operand
    low: Operand
    high: Operand

    def holds(self, item: StoredItem) -> bool:
        value = self.operand.value(item)
        return ordered(operator.ge, value, self.low.value(item)) and ordered(
            operator.le, value, self.high.value(item)
        )

    def paths(self) -> Iterator[Path]:
        yield from self.operand.paths()
        yield from self.low.paths()
        yield from self.high.paths()


@dataclass(slots=True)
class In:
    """`operand IN (choices)`: it equals one of them."""

    operand: Operand
    choices: tuple[Operand, ...]

    def holds(self, item: StoredItem) -> bool:
        value = self.operand.value(item)
        return value is not None and any(choice.value(item) == value for choice in self.choices)

    def paths(self) -> Iterator[Path]:
        yield from self.operand.paths()
        for choice in self.choices:
            yield from choice.paths()


@dataclass(slots=True)
class AttributeExists:
    """`attribute_exists(path)`."""

    path: Path

    def holds(self, item: StoredItem) -> bool:
        return self.path.value(item) is not None

    def paths(self) -> Iterator[Path]:
        yield self.path


@dataclass(slots=True)
class AttributeNotExists:
    """`attribute_not_exists(path)`."""

    path: Path

    def holds(self, item: StoredItem) -> bool:
        return self.path.value(item) is None

    def paths(self) -> Iterator[Path]:
        yield self.path


@dataclass(slots=True)
class AttributeType:
    """`attribute_type(operand, type)`: it is there and has that type."""

    operand: Operand
    type: str

    def holds(self, item: StoredItem) -> bool:
        value = self.operand.value(item)
        return value is not None and self.type in value

    def paths(self) -> Iterator[Path]:
        return self.operand.paths()


@dataclass(slots=True)
class BeginsWith:
    """`begins_with(operand, prefix)`: both strings or both binary."""

    operand: Operand
    prefix: Operand

    def holds(self, item: StoredItem) -> bool:
        value = self.operand.value(item)
        prefix = self.prefix.value(item)
        if value is None or prefix is None:
            return False
        if "S" in value and "S" in prefix:
            return bool(value["S"].startswith(prefix["S"]))
        if "B" in value and "B" in prefix:
            return _bytes(value["B"]).startswith(_bytes(prefix["B"]))
        return False

    def paths(self) -> Iterator[Path]:
        yield from self.operand.paths()
        yield from self.prefix.paths()


@dataclass(slots=True)
class Contains:
    """`contains(operand, part)`: a part of a string or binary value, a member of a set,
    or an element of a list."""

    operand: Operand
    part: Operand

    def holds(self, item: StoredItem) -> bool:
        value = self.operand.value(item)
        part = self.part.value(item)
        if value is None or part is None:
            return False
        ((kind, body),) = value.items()
        if kind == "L":
            return part in body
        if kind == "B" and "B" in part:
            return _bytes(part["B"]) in _bytes(body)
        wanted = part.get(_MEMBERS.get(kind, ""))
        return wanted is not None and wanted in body

    def paths(self) -> Iterator[Path]:
        yield from self.operand.paths()
        yield from self.part.paths()


_MEMBERS = {"S": "S", "SS": "S", "NS": "N", "BS": "B"}
_bytes = binascii.a2b_base64


@dataclass(slots=True)
class And:
    """All of them hold."""

    parts: tuple[Predicate, ...]

    def holds(self, item: StoredItem) -> bool:
        for part in self.parts:  # noqa: SIM110 - all() would take two frames a level
            if not part.holds(item):
                return False
        return True

    def paths(self) -> Iterator[Path]:
        return _paths_of(self.parts)


@dataclass(slots=True)
class Or:
    """One of them holds."""

    parts: tuple[Predicate, ...]

    def holds(self, item: StoredItem) -> bool:
        for part in self.parts:  # noqa: SIM110
            if part.holds(item):
                return True
        return False

    def paths(self) -> Iterator[Path]:
        return _paths_of(self.parts)


@dataclass(slots=True)
class Not:
    """It does not hold."""

    part: Predicate

    def holds(self, item: StoredItem) -> bool:
        return not self.part.holds(item)

    def paths(self) -> Iterator[Path]:
        return _paths_of((self.part,))


def _paths_of(predicates: tuple[Predicate, ...]) -> Iterator[Path]:
    """The paths of a tree, without a frame for each of its levels."""
    waiting = list(predicates)
    while waiting:
        predicate = waiting.pop()
        if isinstance(predicate, And | Or):
            waiting.extend(predicate.parts)
        elif isinstance(predicate, Not):
            waiting.append(predicate.part)
        else:
            yield from predicate.paths()
