"""What conditions and updates compare and compute with: paths, values and sizes.

`mynamo.expressions.nodes` is the module to import from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from mynamo.schemas.values import StoredItem

__all__ = ["Literal", "Operand", "Path", "Size", "Value", "member", "path_text"]

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
