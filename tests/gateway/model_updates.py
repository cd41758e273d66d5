"""What updates do to an item."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from decimal import Decimal
from typing import Any

from tests.gateway.model_expressions import Path, Tree, Unsure, Wrong, at, operand
from tests.gateway.model_values import EXACT, SETS, Item, Value, representable

GONE = ("GONE", None)


def new_value(tree: Tree, item: Item) -> Value:
    """The value of the right-hand side of a SET."""
    match tree:
        case ("if_not_exists", path, otherwise):
            value = at(item, path)
            return _either(value, otherwise, item) if value else new_value(otherwise, item)
        case ("list_append", left, right):
            first, second = new_value(left, item), new_value(right, item)
            if first[0] != "L" or second[0] != "L":
                raise Wrong("An operand in the update expression has an incorrect data type")
            return "L", first[1] + second[1]
        case ("+" | "-" as sign, left, right):
            first, second = new_value(left, item), new_value(right, item)
            if first[0] != "N" or second[0] != "N":
                raise Wrong("An operand in the update expression has an incorrect data type")
            return _number((EXACT.add if sign == "+" else EXACT.subtract)(first[1], second[1]))
    return _present(operand(tree, item))


def _either(value: Value, otherwise: Tree, item: Item) -> Value:
    try:
        new_value(otherwise, item)
    except Wrong:
        raise Unsure("whether if_not_exists evaluates what it does not need") from None
    return value


def _present(value: Value | None) -> Value:
    if value is None:
        raise Wrong(
            "The provided expression refers to an attribute that does not exist in the item"
        )
    return value


def _number(number: Any) -> Value:
    if not number:
        return "N", Decimal(0)
    if not representable(number):
        raise Wrong("a number out of range or of too many digits")
    return "N", number


def only_removes(actions: Sequence[Tree]) -> bool:
    """Whether an update makes no item where there is none."""
    return bool(actions) and all(action[0] in ("REMOVE", "DELETE") for action in actions)


def updated(actions: Sequence[Tree], item: Item) -> Item:
    """The item after an update. All operands are of the item before it."""
    wrong: set[str] = set()
    changes: list[tuple[Path, Value]] = []
    for action in actions:
        try:
            changes.append((action[1], change(action, at(item, action[1]), item)))
        except Wrong as error:
            wrong.add(str(error))
            changes.append((action[1], GONE))
    after = deepcopy(item)
    for path, value in sorted(changes, key=lambda change: [(type(p) is str, p) for p in change[0]]):
        try:
            _place(after, path, value)
        except Wrong as error:
            wrong.add(str(error))
    if wrong:
        raise Wrong(wrong.pop() if len(wrong) == 1 else "several things, no matter which is first")
    clean_up(("M", after))
    return after


def change(action: Tree, old: Value | None, item: Item) -> Value:
    match action:
        case ("SET", _, tree):
            return new_value(tree, item)
        case ("ADD", _, value) if old is None:
            return value  # type: ignore[no-any-return]
        case ("DELETE", _, _) if old is None:
            return GONE
        case ("ADD", _, ("N", number)) if old and old[0] == "N":
            return _number(EXACT.add(old[1], number))
        case ("ADD", _, (kind, members)) if old and old[0] == kind and kind in SETS:
            return kind, old[1] | members
        case ("ADD", _, ("L", members)) if old and old[0] == "L":  # of AttributeUpdates
            return "L", old[1] + members
        case ("DELETE", _, (kind, members)) if old and old[0] == kind:
            return (kind, old[1] - members) if old[1] - members else GONE
        case ("REMOVE", _):
            return GONE
    raise Wrong("An operand in the update expression has an incorrect data type")


def _place(item: Item, path: Path, value: Value) -> None:
    *parents, last = path
    holder: Value | None = at(item, tuple(parents)) if parents else ("M", item)
    if holder is None or holder[0] != ("L" if isinstance(last, int) else "M"):
        raise Wrong("The document path provided in the update expression is invalid for update")
    content = holder[1]
    if isinstance(last, int) and last >= len(content):
        content.append(value)
    else:
        content[last] = deepcopy(value)


def clean_up(value: Value) -> None:
    """Take out what `_place` set to GONE; until here, indexes are the old ones."""
    kind, content = value
    if kind == "L":
        content[:] = [member for member in content if member != GONE]
        for member in content:
            clean_up(member)
    elif kind == "M":
        for name in [name for name, member in content.items() if member == GONE]:
            del content[name]
        for member in content.values():
            clean_up(member)
