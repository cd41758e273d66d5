"""What DynamoDB refuses about expressions before it looks at any item."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import combinations
from typing import Any

from tests.gateway.model_expressions import SIGNS, Path, Tree, Wrong
from tests.gateway.model_values import SETS, below, representable

_SCALARS = ("S", "N", "B")


def check_condition(tree: Tree | None) -> None:
    """Raises Wrong: operands of types that an operator never takes, an operator that gets
    the same attribute twice, or bounds the wrong way round."""
    match tree:
        case ("and" | "or", left, right):
            check_condition(left)
            check_condition(right)
        case ("not", condition):
            check_condition(condition)
        case ("begins_with", path, prefix):
            _distinct(("path", path), [prefix])
            _takes(("S", "B"), [prefix])
        case ("contains", path, part):
            _distinct(("path", path), [part])
        case ("between", tested, low, high):
            _distinct(tested, [low, high])
            _takes(_SCALARS, [tested, low, high])
            _bounds(low, high)
        case ("in", tested, choices):
            _distinct(tested, choices)
        case (sign, left, right) if sign in SIGNS:
            _distinct(left, [right])
            if sign not in ("=", "<>"):
                _takes(_SCALARS, [left, right])


def _distinct(first: Tree, others: Sequence[Tree]) -> None:
    if first[0] == "path" and first in others:
        raise Wrong("The first operand must be distinct from the remaining operands")


def _takes(kinds: Sequence[str], operands: Sequence[Tree]) -> None:
    for operand in operands:
        kind = {"value": operand[1][0], "size": "N"}.get(operand[0])
        if kind is not None and kind not in kinds:
            raise Wrong("Incorrect operand type for operator or function")


def _bounds(low: Tree, high: Tree) -> None:
    if low[0] == high[0] == "value":
        if low[1][0] != high[1][0]:
            raise Wrong("The BETWEEN operator requires same data type")
        if below(high[1], low[1]):
            raise Wrong("The BETWEEN operator requires upper bound to be greater")


def check_numbers(values: Any) -> None:
    """Raises Wrong: a number, anywhere in a request's values, that DynamoDB cannot store."""
    match values:
        case Decimal():
            if not representable(values):
                raise Wrong("a number out of range or of too many digits")
        case dict():
            check_numbers(list(values.values()))
        case list() | tuple() | frozenset():
            for each in values:
                check_numbers(each)


def check_update(actions: Sequence[Tree], *, old_style: bool) -> None:
    """Raises Wrong: paths that overlap, or values of types that an action never takes.
    AttributeUpdates may ADD to lists too."""
    addable = ("N", *SETS, "L") if old_style else ("N", *SETS)
    check_paths([action[1] for action in actions])
    for action in actions:
        match action:
            case ("SET", _, tree):
                _check_new_value(tree)
            case ("ADD", _, (kind, _)) if kind not in addable:
                raise Wrong("ADD takes numbers and sets")
            case ("DELETE", _, (kind, _)) if kind not in SETS:
                raise Wrong("DELETE takes sets")


def check_keys_stay(actions: Sequence[Tree], keys: Sequence[str]) -> None:
    """Raises Wrong: a key attribute would change."""
    for action in actions:
        if action[1][0] in keys:
            raise Wrong(
                "One or more parameter values were invalid: Cannot update attribute "
                f"{action[1][0]}. This attribute is part of the key"
            )


def _check_new_value(tree: Tree) -> None:
    match tree:
        case ("+" | "-", left, right):
            _takes(("N",), [left, right])
        case ("list_append", left, right):
            _takes(("L",), [left, right])
        case ("if_not_exists", path, otherwise):
            _distinct(("path", path), [otherwise])
            return _check_new_value(otherwise)
        case ("size", _):
            raise Wrong("The function is not allowed in an update expression")
        case _:
            return None
    _check_new_value(tree[1])
    return _check_new_value(tree[2])


def check_paths(paths: Sequence[Path]) -> None:
    """Raises Wrong: one is the beginning of another, or they take the same thing for a list
    and for a map."""
    for one, two in combinations(paths, 2):
        for ours, theirs in zip(one, two, strict=False):
            if type(ours) is not type(theirs):
                raise Wrong("Two document paths conflict with each other")
            if ours != theirs:
                break
        else:
            raise Wrong("Two document paths overlap with each other")
