"""Actions of an update: SET, REMOVE, ADD and DELETE, each at one document path.

Sums of numbers and of sets are exact, or refused.

Bound nodes like those of `mynamo.expressions.nodes`. An action's `change(old, item)` gives
the new value at its path; None removes it. `removes` says of an action that it never gives a
value to what has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import ClassVar, Protocol

from mynamo.errors import InvalidItem
from mynamo.expressions.nodes import Operand, Path, Value
from mynamo.schemas.numbers import canonical_number
from mynamo.schemas.values import StoredItem, sorted_set

__all__ = [
    "WRONG_TYPE",
    "Action",
    "Add",
    "Delete",
    "IfNotExists",
    "ListAppend",
    "Minus",
    "Plus",
    "Remove",
    "Set",
    "add_numbers",
    "subtract_numbers",
    "union",
    "without",
]


WRONG_TYPE = "An operand in the update expression has an incorrect data type"
# Two numbers in range need at most 126 + 130 + 38 digits together; one more for the carry.
EXACT = Context(prec=400, Emax=999999, Emin=-999999)


def add_numbers(left: Value, right: Value) -> Value:
    """The sum of two numbers. Raises InvalidItem if DynamoDB cannot store it."""
    return _stored(EXACT.add(Decimal(left["N"]), Decimal(right["N"])))


def subtract_numbers(left: Value, right: Value) -> Value:
    """The difference of two numbers. Raises InvalidItem if DynamoDB cannot store it."""
    return _stored(EXACT.subtract(Decimal(left["N"]), Decimal(right["N"])))


def _stored(result: Decimal) -> Value:
    # A zero that is left of two equal numbers has the exponent of their last digits.
    return {"N": canonical_number(result) if result else "0"}


def union(old: Value, more: Value) -> Value:
    """Two sets of one type in one. Raises InvalidItem if they are not that."""
    kind = _set_kind(old, more)
    return sorted_set(kind, list({*old[kind], *more[kind]}))


def without(old: Value, fewer: Value) -> Value | None:
    """A set without the members of another; None if nothing is left. Raises InvalidItem
    if they are not two sets of one type."""
    kind = _set_kind(old, fewer)
    gone = set(fewer[kind])
    left = [member for member in old[kind] if member not in gone]
    return {kind: left} if left else None


def _set_kind(old: Value, other: Value) -> str:
    (kind,) = old
    if kind not in ("SS", "NS", "BS") or kind not in other:
        raise InvalidItem(WRONG_TYPE)
    return kind


MISSING = "The provided expression refers to an attribute that does not exist in the item"


class Action(Protocol):
    """One change of an update.

    Attributes:
        removes: it takes away, and makes nothing.
    """

    removes: ClassVar[bool]

    @property
    def path(self) -> Path:
        """What it changes."""

    def change(self, old: Value | None, item: StoredItem) -> Value | None:
        """The new value at the path; None: none.

        Args:
            old: the value there now, None if there is none.
            item: as it was before the whole update.

        Raises:
            InvalidItem: an operand is missing, of the wrong type, or its result out of range.
        """


@dataclass(slots=True)
class Set:
    """`SET path = operand`."""

    removes: ClassVar[bool] = False
    path: Path
    operand: Operand

    def change(self, old: Value | None, item: StoredItem) -> Value | None:
        return present(self.operand, item)


@dataclass(slots=True)
class Remove:
    """`REMOVE path`."""

    removes: ClassVar[bool] = True
    path: Path

    def change(self, old: Value | None, item: StoredItem) -> Value | None:
        return None


@dataclass(slots=True)
class Add:
    """`ADD path operand`: a number to a number, or a set to a set; a missing attribute
    becomes the operand."""

    removes: ClassVar[bool] = False
    path: Path
    operand: Operand

    def change(self, old: Value | None, item: StoredItem) -> Value | None:
        value = present(self.operand, item)
        if old is None:
            return value
        if "N" in value and "N" in old:
            return add_numbers(old, value)
        return union(old, value)


@dataclass(slots=True)
class Delete:
    """`DELETE path operand`: members from a set; an emptied set is removed."""

    removes: ClassVar[bool] = True
    path: Path
    operand: Operand

    def change(self, old: Value | None, item: StoredItem) -> Value | None:
        value = present(self.operand, item)
        return None if old is None else without(old, value)


@dataclass(slots=True)
class IfNotExists:
    """`if_not_exists(path, operand)`.

    Observed of DynamoDB: the operand must have a value even where it is not needed.
    """

    path: Path
    operand: Operand

    def value(self, item: StoredItem) -> Value | None:
        otherwise = self.operand.value(item)
        if otherwise is None:
            raise InvalidItem(MISSING)
        value = self.path.value(item)
        return otherwise if value is None else value

    def paths(self) -> Iterator[Path]:
        yield self.path
        yield from self.operand.paths()


@dataclass(slots=True)
class ListAppend:
    """`list_append(left, right)`: two lists in one."""

    left: Operand
    right: Operand

    def value(self, item: StoredItem) -> Value | None:
        left, right = _two(self.left, self.right, "L", item)
        return {"L": [*left["L"], *right["L"]]}

    def paths(self) -> Iterator[Path]:
        yield from self.left.paths()
        yield from self.right.paths()


@dataclass(slots=True)
class Plus:
    """`left + right`, two numbers."""

    left: Operand
    right: Operand

    def value(self, item: StoredItem) -> Value | None:
        return add_numbers(*_two(self.left, self.right, "N", item))

    def paths(self) -> Iterator[Path]:
        yield from self.left.paths()
        yield from self.right.paths()


@dataclass(slots=True)
class Minus:
    """`left - right`, two numbers."""

    left: Operand
    right: Operand

    def value(self, item: StoredItem) -> Value | None:
        return subtract_numbers(*_two(self.left, self.right, "N", item))

    def paths(self) -> Iterator[Path]:
        yield from self.left.paths()
        yield from self.right.paths()


def present(operand: Operand, item: StoredItem) -> Value:
    """The value of an operand that an update needs. Raises InvalidItem if there is none."""
    value = operand.value(item)
    if value is None:
        raise InvalidItem(MISSING)
    return value


def _two(left: Operand, right: Operand, kind: str, item: StoredItem) -> tuple[Value, Value]:
    """Two values of one type. DynamoDB looks at the second one first, which shows where
    both are wrong."""
    second = present(right, item)
    first = present(left, item)
    if kind not in first or kind not in second:
        raise InvalidItem(WRONG_TYPE)
    return first, second
