"""AttributeUpdates and AttributesToGet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mynamo.errors import InvalidExpression, InvalidItem
from mynamo.expressions.actions import Action, Remove, Set, add_numbers, union, without
from mynamo.expressions.legacy_conditions import check_name
from mynamo.expressions.nodes import Literal, Path, Value
from mynamo.expressions.projections import Projection
from mynamo.expressions.updates import TYPE_NAMES, Update
from mynamo.schemas.values import INVALID, StoredItem, normalise_value

__all__ = ["projection_of_attributes", "update_of_attribute_updates"]

_SETS = ("SS", "NS", "BS")
_ADDABLE = ("N", "L", *_SETS)
_MISMATCH = "Type mismatch for attribute to update"


@dataclass(slots=True)
class _Add:
    """ADD: a number to a number, members to a set, elements to the end of a list."""

    removes: ClassVar[bool] = False
    path: Path
    value: Value

    def change(self, old: Value | None, item: StoredItem) -> Value | None:
        if old is None:
            return self.value
        (kind,) = self.value
        if kind not in old:
            raise InvalidItem(_MISMATCH)
        if kind == "N":
            return add_numbers(old, self.value)
        if kind == "L":
            return {"L": [*old["L"], *self.value["L"]]}
        return union(old, self.value)


@dataclass(slots=True)
class _Delete:
    """DELETE with a value: members from a set."""

    removes: ClassVar[bool] = True
    path: Path
    value: Value

    def change(self, old: Value | None, item: StoredItem) -> Value | None:
        if old is None:
            return None
        if self.value.keys() != old.keys():
            raise InvalidItem(_MISMATCH)
        return without(old, self.value)


def update_of_attribute_updates(updates: Mapping[str, Any]) -> Update:
    """What AttributeUpdates ask for. Their names are of whole attributes, never paths.

    Raises:
        InvalidExpression: an action lacks its value or does not take one of its type.
        InvalidItem: a value is no attribute value.
    """
    return Update.of([_action(name, update) for name, update in updates.items()])


def projection_of_attributes(names: Sequence[str]) -> Projection:
    """What AttributesToGet ask for.

    Raises:
        InvalidExpression: there is none, one is empty, or one is there twice.
    """
    if not names:
        raise InvalidExpression("AttributesToGet cannot be empty")
    seen = set()
    for name in names:
        check_name(name)
        if name in seen:
            raise InvalidExpression(f"{INVALID}Duplicate value in attribute name: {name}")
        seen.add(name)
    return Projection.naming(names)


def _action(name: str, wire: Mapping[str, Any]) -> Action:
    check_name(name)
    action = wire.get("Action") or "PUT"
    path = Path(name)
    if wire.get("Value") is None:
        if action != "DELETE":
            raise InvalidExpression(
                f"{INVALID}Only DELETE action is allowed when no attribute value is specified"
            )
        return Remove(path)
    value = normalise_value(wire["Value"])
    (kind,) = value
    if action == "PUT":
        return Set(path, Literal(value))
    if action == "ADD":
        if kind not in _ADDABLE:
            raise InvalidExpression(f"{INVALID}ADD action {_unsupported(kind)}")
        return _Add(path, value)
    if kind not in _SETS:
        raise InvalidExpression(f"{INVALID}DELETE action with value {_unsupported(kind)}")
    return _Delete(path, value)


def _unsupported(kind: str) -> str:
    return f"is not supported for the type {TYPE_NAMES[kind]}"
