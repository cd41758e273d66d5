"""Expressions as trees of plain tuples, and what they mean.

    path       ("m", "k", 0): names of attributes and map members, indexes of lists
    operand    ("value", v) | ("path", path) | ("size", path)
    condition  (sign, operand, operand) with one of the signs = <> < <= > >=
               ("between", operand, low, high) | ("in", operand, [operand, ...])
               ("exists", path) | ("missing", path) | ("type", path, kind)
               ("begins_with", path, operand) | ("contains", path, operand)
               ("and", c, c) | ("or", c, c) | ("not", c)
    new value  f | ("+", f, f) | ("-", f, f)
    f          operand | ("list_append", f, f) | ("if_not_exists", path, f)
    action     ("SET", path, new value) | ("REMOVE", path) | ("ADD" | "DELETE", path, value)

The random generator makes these trees; they are evaluated here, and rendered as text by
`tests.gateway.rendering`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from tests.gateway.model_values import EXACT, SETS, Item, Value, below

Path: TypeAlias = tuple[str | int, ...]
Tree: TypeAlias = tuple[Any, ...]

SIGNS = ("=", "<>", "<", "<=", ">", ">=")


class Wrong(Exception):  # noqa: N818
    """DynamoDB would answer with a ValidationException."""


class Unsure(Exception):  # noqa: N818
    """DynamoDB's documentation leaves open what it would answer."""


def at(item: Item, path: Path) -> Value | None:
    """The value at a path."""
    value: Value | None = item.get(str(path[0]))
    for part in path[1:]:
        if value is None:
            return None
        kind, content = value
        if isinstance(part, int):
            value = content[part] if kind == "L" and part < len(content) else None
        else:
            value = content.get(part) if kind == "M" else None
    return value


def operand(tree: Tree, item: Item) -> Value | None:
    match tree:
        case ("value", value):
            return value  # type: ignore[no-any-return]
        case ("path", path):
            return at(item, path)
        case ("size", path):
            return _size(at(item, path))
    raise AssertionError(tree)


def _size(value: Value | None) -> Value | None:
    if value is None or value[0] in ("N", "BOOL", "NULL"):
        return None
    kind, content = value
    if kind == "S":  # in UTF-16 units
        return "N", EXACT.create_decimal(sum(1 + (ord(one) > 0xFFFF) for one in content))
    return "N", EXACT.create_decimal(len(content))


def holds(tree: Tree, item: Item) -> bool:
    """Whether a condition holds for an item ({}: there is none)."""
    match tree:
        case ("and", left, right):
            return holds(left, item) and holds(right, item)
        case ("or", left, right):
            return holds(left, item) or holds(right, item)
        case ("not", condition):
            return not holds(condition, item)
        case ("exists", path):
            return at(item, path) is not None
        case ("missing", path):
            return at(item, path) is None
        case ("type", path, kind):
            value = at(item, path)
            return value is not None and value[0] == kind
        case ("between", tested, low, high):
            return _compare(">=", operand(tested, item), operand(low, item)) and _compare(
                "<=", operand(tested, item), operand(high, item)
            )
        case ("in", tested, choices):
            return any(
                _compare("=", operand(tested, item), operand(choice, item)) for choice in choices
            )
        case ("begins_with", path, prefix):
            return begins_with(at(item, path), operand(prefix, item))
        case ("contains", path, part):
            return contains(at(item, path), operand(part, item))
        case (sign, left, right) if sign in SIGNS:
            return _compare(sign, operand(left, item), operand(right, item))
    raise AssertionError(tree)


def _compare(sign: str, left: Value | None, right: Value | None) -> bool:
    if sign == "<>":
        return left is None or right is None or left != right
    if left is None or right is None:
        return False
    match sign:
        case "=":
            return left == right
        case "<":
            return below(left, right)
        case ">":
            return below(right, left)
        case "<=":
            return below(left, right) or (left == right and left[0] in ("S", "N", "B"))
    return below(right, left) or (left == right and left[0] in ("S", "N", "B"))


def begins_with(value: Value | None, prefix: Value | None) -> bool:
    if value is None or prefix is None:
        return False
    same = value[0] == prefix[0] and value[0] in ("S", "B")
    return same and bool(value[1].startswith(prefix[1]))


def contains(value: Value | None, part: Value | None) -> bool:
    if value is None or part is None:
        return False
    kind, content = value
    if kind in ("S", "B"):
        return part[0] == kind and part[1] in content
    if kind in SETS:
        return part[0] == kind[0] and part[1] in content
    return kind == "L" and part in content


def projected(paths: Sequence[Path] | None, item: Item) -> Item:
    """The part of an item at some paths; None: all of it."""
    if paths is None:
        return item
    tree: dict[Any, Any] = {}
    for path in paths:
        branch = tree
        for part in path[:-1]:
            branch = branch.setdefault(part, {})
        branch[path[-1]] = None
    found = _part(("M", item), tree)
    return found[1] if found else {}


def _part(value: Value, tree: dict[Any, Any] | None) -> Value | None:
    if tree is None:
        return value
    found = []
    for part in sorted(tree):
        member = at({"value": value}, ("value", part))
        inside = _part(member, tree[part]) if member is not None else None
        if inside is not None:
            found.append((part, inside))
    if not found:
        return None
    return (value[0], [m for _, m in found]) if value[0] == "L" else (value[0], dict(found))
