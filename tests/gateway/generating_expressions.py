"""Random conditions and updates, mostly such that DynamoDB takes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.gateway.generating_values import TYPES, Making
from tests.gateway.model_expressions import Path, Tree, at
from tests.gateway.model_values import SETS, Value


def condition(making: Making) -> Tree:
    """A condition or filter."""
    return _Expressions(making).condition()


def actions(making: Making) -> list[Tree]:
    """An update."""
    return _Expressions(making).actions()


def removals(making: Making) -> list[Tree]:
    """An update that only removes."""
    paths: list[Path] = []
    for _ in range(making.random.randint(1, 3)):
        path = making.path()
        if not any(_clash(path, other) for other in paths):
            paths.append(path)
    return [
        ("DELETE", path, making.value_of(making.random.choice(SETS)))
        if making.chance(0.4)
        else ("REMOVE", path)
        for path in paths
    ]


class _Expressions:
    def __init__(self, making: Making) -> None:
        self.making = making
        self.random = making.random
        self.chance = making.chance

    def operand(self, sortable: bool = False) -> Tree:
        which = self.random.random()
        if which < 0.6:
            if sortable and self.chance(0.97):
                return "value", self.making.value_of(self.random.choice("SSNNB"))
            if self.making.there and self.chance(0.4):
                return "value", self.making.value_there()
            return "value", self.making.value()
        if which < 0.9:
            return "path", self.making.looked_at()
        return "size", self.making.looked_at()

    def tested(self) -> Tree:
        """What a comparison looks at: mostly a path."""
        which = self.random.random()
        if which < 0.8:
            return "path", self.making.looked_at()
        return ("size", self.making.looked_at()) if which < 0.95 else ("value", self.making.value())

    def condition(self, depth: int = 2) -> Tree:
        if depth and self.chance(0.5):
            word = self.random.choice(("and", "or", "not"))
            if word == "not":
                return word, self.condition(depth - 1)
            return word, self.condition(depth - 1), self.condition(depth - 1)
        match self.random.randrange(10):
            case 0:
                return self.random.choice(("exists", "missing")), self.making.looked_at()
            case 1:
                return "type", self.making.looked_at(), self.random.choice(TYPES)
            case 2 | 3:
                return self.begins_with()
            case 4:
                return self.contains()
            case 5:
                return self.between()
            case 6:
                choices = [self.operand() for _ in range(self.random.randint(1, 4))]
                return "in", self.tested(), choices
            case 7:
                return self.random.choice(("<", "<=", ">", ">=")), self.tested(), self.operand(True)
        if self.making.there and self.chance(0.3):
            path = self.random.choice(self.making.there)
            return (
                self.random.choice(("=", "=", "<>")),
                ("path", path),
                ("value", at(self.making.about, path)),
            )
        return self.random.choice(("=", "=", "<>")), self.tested(), self.operand()

    def begins_with(self) -> Tree:
        texts = [path for path in self.making.there if self.kind_at(path) in ("S", "B")]
        if not texts or self.chance(0.3):
            prefix = self.making.value_of(self.random.choice("SSSSBBN"))
            return "begins_with", self.making.looked_at(), ("value", prefix)
        path = self.random.choice(texts)
        if self.chance(0.1):
            return "begins_with", path, ("path", self.making.path())
        return "begins_with", path, ("value", self.part_of(path))

    def contains(self) -> Tree:
        holders = ("S", "B", *SETS, "L")
        holding = [path for path in self.making.there if self.kind_at(path) in holders]
        if not holding or self.chance(0.4):
            return "contains", self.making.looked_at(), self.operand()
        path = self.random.choice(holding)
        return "contains", path, ("value", self.part_of(path))

    def kind_at(self, path: Path) -> str:
        value = at(self.making.about, path)
        return value[0] if value else ""

    def part_of(self, path: Path) -> Value:
        """A part of a text, or a member of a set or list, that is there."""
        value = at(self.making.about, path)
        assert value is not None
        kind, content = value
        if kind in ("S", "B"):
            start = self.random.choice((0, 0, 1))
            return kind, content[start : start + self.random.randint(0, 3)]
        if not content:
            return self.making.value()
        if kind == "L":
            return self.random.choice(content)  # type: ignore[no-any-return]
        return kind[0], self.random.choice(sorted(content))

    def between(self) -> Tree:
        if self.chance(0.2):
            return "between", self.tested(), self.operand(True), self.operand(True)
        kind = self.random.choice("SNB")
        low, high = (self.making.value_of(kind)[1] for _ in range(2))
        if high < low and self.chance(0.95):
            low, high = high, low
        return "between", self.tested(), ("value", (kind, low)), ("value", (kind, high))

    def actions(self) -> list[Tree]:
        """An update; mostly of paths that do not overlap."""
        chosen = self.of_one_list() if self.chance(0.15) else []
        for _ in range(self.random.choice((1, 1, 2, 3, 4)) if not chosen else 1):
            action = self.action()
            path = action[1]
            if self.chance(0.98) and any(_clash(path, other[1]) for other in chosen):
                continue
            chosen.append(action)
        return chosen

    def of_one_list(self) -> list[Tree]:
        """Removals of elements of one list that is there, perhaps with new values of others."""
        lists = [path for path in self.making.there if self.kind_at(path) == "L"]
        if not lists:
            return []
        path = self.random.choice(lists)
        value = at(self.making.about, path)
        assert value is not None
        indexes = range(len(value[1]) + 1)
        chosen = self.random.sample(indexes, self.random.randint(1, min(3, len(indexes))))
        return [
            ("REMOVE", (*path, index))
            if self.chance(0.7)
            else ("SET", (*path, index), ("value", self.making.value()))
            for index in chosen
        ]

    def action(self) -> Tree:
        path = self.making.path()
        old = at(self.making.about, path)
        kind = old[0] if old and self.chance(0.9) else self.random.choice(("N", "SS", "NS", "BS"))
        if kind in ("N", *SETS) and self.chance(0.4):
            if old and kind == old[0] and kind in SETS and self.chance(0.3):
                return "DELETE", path, (kind, self.fewer(old[1]))
            word = "DELETE" if kind != "N" and self.chance(0.4) else "ADD"
            return (
                word,
                path,
                self.making.value_of(kind) if self.chance(0.97) else self.making.value(),
            )
        if self.chance(0.25):
            return "REMOVE", path
        return "SET", path, self.new_value(path, kind)

    def fewer(self, members: frozenset[Any]) -> frozenset[Any]:
        """Some members of a set, often all."""
        count = len(members) if self.chance(0.5) else self.random.randint(1, len(members))
        return frozenset(self.random.sample(sorted(members), count))

    def new_value(self, path: Path, kind: str) -> Tree:
        """Args: kind: of the value at the path, more or less."""
        ours: Tree = ("path", path)
        if self.chance(0.4):
            starts = {"N": Decimal(1), "L": []}
            start = ("value", (kind, starts[kind])) if kind in starts else self.otherwise()
            ours = ("if_not_exists", path, start)
        if kind == "N" and self.chance(0.7):
            pair = [ours, self.literal("N")]
            self.random.shuffle(pair)
            return self.random.choice("+-"), *pair
        if kind == "L" and self.chance(0.5):
            pair = [ours, self.literal("L")]
            self.random.shuffle(pair)
            return "list_append", *pair
        match self.random.randrange(8):
            case 0:
                return "if_not_exists", self.making.path(), self.otherwise()
            case 1:
                return "path", self.making.path()
        return "value", self.making.value_for(str(path[0])) if len(
            path
        ) == 1 else self.making.value()

    def otherwise(self) -> Tree:
        """What if_not_exists may give instead, seldom something that it never may."""
        if self.chance(0.03):
            return "size", self.making.path()
        return ("path", self.making.path()) if self.chance(0.3) else ("value", self.making.value())

    def literal(self, kind: str) -> Tree:
        return "value", self.making.value_of(kind) if self.chance(0.97) else self.making.value()


def _clash(one: Path, two: Path) -> bool:
    for ours, theirs in zip(one, two, strict=False):
        if type(ours) is not type(theirs):
            return True
        if ours != theirs:
            return False
    return True
