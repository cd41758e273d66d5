"""What holds for an item or does not: comparisons, functions, and what joins them.

`mynamo.expressions.nodes` is the module to import from.
"""

from __future__ import annotations

import binascii
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from mynamo.expressions.operands import Operand, Path, Value
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
    "Not",
    "Or",
    "Predicate",
    "ordered",
]


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
