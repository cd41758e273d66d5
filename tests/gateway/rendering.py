"""Trees of `tests.gateway.model_expressions` as the text of a request's expressions."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from tests.gateway.model_expressions import SIGNS, Path, Tree
from tests.gateway.model_values import Value, to_wire

_LEVELS = {"or": 1, "and": 2, "not": 3}
_FUNCTIONS = {
    "exists": "attribute_exists",
    "missing": "attribute_not_exists",
    "type": "attribute_type",
}


class Rendering:
    """The expressions of one request and the placeholders they share.

    Args:
        choices: makes the choices that must not matter: parentheses, blanks, the case of
            keywords, and whether a name gets a placeholder or stands as it is.
    """

    def __init__(self, choices: Random) -> None:
        self.choices = choices
        self.names: dict[str, str] = {}
        self.values: dict[str, Any] = {}

    def parameters(self, **expressions: str | None) -> dict[str, Any]:
        """The parts of a request: expressions and placeholders, without those not used."""
        given: dict[str, Any] = {name: text for name, text in expressions.items() if text}
        if self.names:
            given["ExpressionAttributeNames"] = dict(self.names)
        if self.values:
            given["ExpressionAttributeValues"] = dict(self.values)
        return given

    def name(self, name: str) -> str:
        """A name, or a placeholder where it is not a plain one (those with capitals are
        reserved words or have characters of their own)."""
        if name.islower() and name.isascii() and name.isalpha() and self.choices.random() < 0.6:
            return name
        for placeholder, known in self.names.items():
            if known == name:
                return placeholder
        placeholder = f"#{self.choices.choice('nN_')}{len(self.names)}"
        self.names[placeholder] = name
        return placeholder

    def value(self, value: Value) -> str:
        placeholder = f":v{len(self.values)}"
        self.values[placeholder] = to_wire(value)
        return placeholder

    def path(self, path: Path) -> str:
        text = self.name(str(path[0]))
        for part in path[1:]:
            text += f"[{part}]" if isinstance(part, int) else f".{self.name(part)}"
        return text

    def operand(self, tree: Tree) -> str:
        match tree:
            case ("value", value):
                return self.value(value)
            case ("path", path):
                return self.path(path)
        return f"size({self.path(tree[1])})"

    def condition(self, tree: Tree, around: int = 0) -> str:
        """Args: around: how tightly what stands around it binds."""
        level = _LEVELS.get(tree[0], 4)
        text = self._condition(tree, level)
        if level < around or self.choices.random() < 0.1:
            return f"({text})"
        return text

    def _condition(self, tree: Tree, level: int) -> str:
        match tree:
            case ("and" | "or" as word, left, right):
                joint = self.word(word)
                return f"{self.condition(left, level)} {joint} {self.condition(right, level)}"
            case ("not", condition):
                return f"{self.word('not')} {self.condition(condition, level)}"
            case ("exists" | "missing" as kind, path):
                return f"{_FUNCTIONS[kind]}({self.path(path)})"
            case ("type", path, kind):
                return f"attribute_type({self.path(path)}, {self.value(('S', kind))})"
            case ("begins_with" | "contains" as name, path, argument):
                return f"{name} ({self.path(path)}, {self.operand(argument)})"
            case ("between", tested, low, high):
                return (
                    f"{self.operand(tested)} {self.word('between')} {self.operand(low)} "
                    f"{self.word('and')} {self.operand(high)}"
                )
            case ("in", tested, choices):
                listed = ", ".join(self.operand(choice) for choice in choices)
                return f"{self.operand(tested)} {self.word('in')} ({listed})"
            case (sign, left, right) if sign in SIGNS:
                blank = self.choices.choice(["", " "])
                return f"{self.operand(left)}{blank}{sign}{blank}{self.operand(right)}"
        raise AssertionError(tree)

    def new_value(self, tree: Tree) -> str:
        match tree:
            case ("if_not_exists", path, otherwise):
                return f"if_not_exists({self.path(path)}, {self.new_value(otherwise)})"
            case ("list_append", left, right):
                return f"list_append({self.new_value(left)}, {self.new_value(right)})"
            case ("+" | "-" as sign, left, right):
                return f"{self.new_value(left)} {sign} {self.new_value(right)}"
        return self.operand(tree)

    def update(self, actions: Sequence[Tree]) -> str:
        """Each kind of action is one clause; the order of clauses does not matter."""
        clauses: dict[str, list[str]] = {}
        for action in actions:
            clauses.setdefault(action[0], []).append(self._action(action))
        return " ".join(f"{self.word(kind)} {', '.join(each)}" for kind, each in clauses.items())

    def _action(self, action: Tree) -> str:
        match action:
            case ("SET", path, tree):
                return f"{self.path(path)} = {self.new_value(tree)}"
            case ("REMOVE", path):
                return self.path(path)
        _, path, value = action
        return f"{self.path(path)} {self.value(value)}"

    def projection(self, paths: Sequence[Path] | None) -> str | None:
        return ", ".join(map(self.path, paths)) if paths is not None else None

    def key_condition(self, conditions: Sequence[tuple[str, str, tuple[Value, ...]]]) -> str:
        """Of (attribute name, operator, values), in their order."""
        joint = f" {self.word('and')} "
        return joint.join(self._key_condition(*condition) for condition in conditions)

    def _key_condition(self, name: str, sign: str, values: tuple[Value, ...]) -> str:
        attribute = self.name(name)
        if sign == "begins_with":
            return f"begins_with({attribute}, {self.value(values[0])})"
        if sign == "between":
            low, high = map(self.value, values)
            return f"{attribute} {self.word('between')} {low} {self.word('and')} {high}"
        return f"{attribute} {sign} {self.value(values[0])}"

    def word(self, keyword: str) -> str:
        """A keyword in capitals or not."""
        return keyword.upper() if self.choices.random() < 0.5 else keyword.lower()
