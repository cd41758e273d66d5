"""Random values and paths, few enough that they meet."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import Any

from tests.gateway.model_expressions import Path, at
from tests.gateway.model_values import Item, Value

NAMES = ("a", "b", "c", "m", "q", "größe", "x.y", "Size")
"""Attributes that are no keys; `m` is mostly a map, `q` mostly a list."""
TYPES = ("S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", "L", "M")
_TEXTS = ("", "a", "ab", "ba", "bab", "b", "é", "z\U0001f600", "ab" * 20)
_NUMBERS = (*map(Decimal, ("0", "1", "2", "3", "-1", "-2.5", "0.5", "10", "1E+30", "1E-20")),)
_EXTREMES = (*map(Decimal, ("9" * 38 + "E+88", "-1E-130", "1." + "1" * 37, "9" * 38)),)
_ZEROS = (*map(Decimal, ("0E+125", "0E-130", "-0", "0E+126", "0E-131", "0E+2147483648")),)
_BYTES = (b"", b"a", b"ab", b"\x00\xff", b"b")


class Making:
    """Makes random values and paths, often of an item at hand.

    Args:
        random: where all choices come from.
        keys: key attributes that conditions and projections may look at.
        names: other top-level attributes for the same.
        about: the item that it will be about, so that expressions often fit it.
    """

    def __init__(
        self,
        random: Random,
        keys: Sequence[str] = (),
        names: Sequence[str] = NAMES,
        about: Item | None = None,
    ) -> None:
        self.random = random
        self.keys = keys
        self.names = names
        self.about = about or {}
        self.there = [path for path in paths_in(self.about) if path[0] in names]

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def item(self) -> Item:
        names = self.random.sample(NAMES, self.random.randint(0, 4))
        return {name: self.value_for(name) for name in names}

    def value_for(self, name: str) -> Value:
        """A value of the type that an attribute mostly has."""
        if name == "m" and self.chance(0.8):
            return self.members()
        if name == "q" and self.chance(0.8):
            return self.elements()
        return self.value()

    def value(self, depth: int = 2) -> Value:
        kinds = TYPES if depth else TYPES[:-2]
        return self.value_of(
            self.random.choices(kinds, [6, 6, 2, 1, 1, 2, 2, 1, 2, 2][: len(kinds)])[0], depth
        )

    def value_of(self, kind: str, depth: int = 1) -> Value:
        match kind:
            case "S":
                if self.chance(0.02):
                    return kind, "t" * self.random.choice([900, 1100, 3000, 5000])
                return kind, self.random.choice(_TEXTS)
            case "N":
                if self.chance(0.01):
                    return kind, self.random.choice(_ZEROS)
                return kind, self.random.choice(_EXTREMES if self.chance(0.05) else _NUMBERS)
            case "B":
                return kind, self.random.choice(_BYTES)
            case "BOOL":
                return kind, self.chance(0.5)
            case "NULL":
                return kind, True
            case "SS":
                return kind, frozenset(self.some(_TEXTS[:5]))
            case "NS":
                zeros = _ZEROS if self.chance(0.01) else ()
                return kind, frozenset(self.some((*_NUMBERS[1:6], *zeros[2:], *_NUMBERS[:1])))
            case "BS":
                return kind, frozenset(self.some(_BYTES))
            case "L":
                return self.elements(depth)
        return self.members(depth)

    def members(self, depth: int = 2) -> Value:
        names = self.random.sample(("k", "n", "Data"), self.random.randint(0, 3))
        return "M", {name: self.value(depth - 1) for name in names}

    def elements(self, depth: int = 2) -> Value:
        return "L", [self.value(depth - 1) for _ in range(self.random.randint(0, 4))]

    def some(self, members: Any) -> Any:
        return self.random.sample(members, self.random.randint(1, 3))

    def path(self) -> Path:
        if self.there and self.chance(0.65):
            return self.random.choice(self.there)
        name = self.random.choice(self.names)
        if name == "m" or self.chance(0.05):
            return (
                name,
                *self.random.choice([(), ("k",), ("n",), ("Data",), ("k", "n"), ("n", 0)]),
            )
        if name == "q" or self.chance(0.05):
            return (name, *self.random.choice([(), (0,), (1,), (2,), (5,), (0, "k"), (1, 0)]))
        return (name,)

    def looked_at(self) -> Path:
        """A path for a condition: sometimes that of a key."""
        if self.keys and self.chance(0.15):
            return (self.random.choice(self.keys),)
        return self.path()

    def value_there(self) -> Value:
        """A value that is somewhere in the item."""
        value = at(self.about, self.random.choice(self.there))
        assert value is not None
        return value


def paths_in(item: Item) -> list[Path]:
    """All paths to something in an item, members of members included."""
    found: list[Path] = []
    waiting: list[tuple[Path, Value]] = [((name,), value) for name, value in item.items()]
    while waiting:
        path, (kind, content) = waiting.pop()
        found.append(path)
        if kind == "M":
            waiting += [((*path, name), member) for name, member in content.items()]
        elif kind == "L":
            waiting += [((*path, n), member) for n, member in enumerate(content)]
    return found
