"""Whether a write's condition holds for the item as it is found, under its row's lock."""

from __future__ import annotations

from dataclasses import dataclass

from mynamo import expressions
from mynamo.errors import ConditionFailed
from mynamo.schemas.commands import Condition
from mynamo.schemas.values import StoredItem

FAILED = "The conditional request failed"
"""DynamoDB's message of a ConditionalCheckFailedException."""


@dataclass(frozen=True, slots=True)
class Current:
    """An item as a write finds it, under its row's lock.

    Attributes:
        item: None if there is none.
        version: 0 if there is none.
    """

    item: StoredItem | None
    version: int


def check_condition(condition: Condition | expressions.Condition | None, current: Current) -> None:
    """Refuse a write whose condition does not hold.

    Raises:
        ConditionFailed: with the item that was found.
        InvalidItem: the condition cannot be evaluated on this item.
    """
    if condition is None:
        return
    if isinstance(condition, expressions.Condition):
        failure = None if condition.holds(current.item) else FAILED
    else:
        failure = _failure(condition, current)
    if failure is not None:
        raise ConditionFailed(failure, item=current.item)


def _failure(condition: Condition, current: Current) -> str | None:
    if condition.exists is False and current.item is not None:
        return f"{FAILED}: the item exists"
    if condition.exists and current.item is None:
        return f"{FAILED}: the item does not exist"
    if condition.version is not None and condition.version != current.version:
        found = "another version" if current.item is not None else "no item"
        return f"{FAILED}: version {condition.version} was expected, but there is {found}"
    return None
