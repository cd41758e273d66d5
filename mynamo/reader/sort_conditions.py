"""Conditions on a sort key as a caller of `Reader` writes them: `between(1, 5)`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mynamo.catalog.tables import Index, Table
from mynamo.errors import InvalidRequest
from mynamo.expressions import KeyCondition
from mynamo.schemas.items import to_stored

__all__ = [
    "SortCondition",
    "begins_with",
    "between",
    "equal",
    "greater",
    "greater_or_equal",
    "key_conditions",
    "less",
    "less_or_equal",
]


@dataclass(frozen=True, slots=True)
class SortCondition:
    """What one attribute of the sort key must be; made by the functions below.

    Attributes:
        operator, values: those of a `KeyCondition`, which has the attribute's name besides.
    """

    operator: Literal["=", "<", "<=", ">", ">=", "between", "begins_with"]
    values: tuple[dict[str, Any], ...]

    def on(self, name: str) -> KeyCondition:
        """The condition on the attribute of that name."""
        return KeyCondition(name, self.operator, self.values)


Sort = SortCondition | Mapping[str, Any] | None
"""A condition on the sort key; where it has several attributes, by their names a value or a
condition for each; None: there is none."""


def key_conditions(at: Table | Index, hash_value: Any, sort: Sort) -> tuple[KeyCondition, ...]:
    """The conditions on a table's or an index's key.

    Args:
        hash_value: of the hash key; where it has several attributes, a mapping of their
            names to values.
        sort: see `Sort`.

    Raises:
        InvalidItem: a value is not one that an attribute can have.
        InvalidRequest: a condition on a sort key that there is not.
    """
    if isinstance(hash_value, Mapping):
        given = dict(hash_value)
    else:
        if len(at.hash_keys) > 1:
            names = ", ".join(key.name for key in at.hash_keys)
            raise InvalidRequest(
                f"the hash key of {at.name} is {names}: give a dictionary of these and their values"
            )
        given = {at.hash_keys[0].name: hash_value}
    conditions = [equal(value).on(name) for name, value in given.items()]
    if sort is not None:
        if not at.sort_keys:
            raise InvalidRequest(f"{at.name} has no sort key, so there can be no condition on it")
        by_name = sort if isinstance(sort, Mapping) else {at.sort_keys[0].name: sort}
        conditions += [
            (each if isinstance(each, SortCondition) else equal(each)).on(name)
            for name, each in by_name.items()
        ]
    return tuple(conditions)


def _stored(value: Any) -> dict[str, Any]:
    return to_stored({"value": value})["value"]


def equal(value: Any) -> SortCondition:
    """The sort key is `value`."""
    return SortCondition("=", (_stored(value),))


def less(value: Any) -> SortCondition:
    """The sort key is below `value`."""
    return SortCondition("<", (_stored(value),))


def less_or_equal(value: Any) -> SortCondition:
    """The sort key is `value` or below it."""
    return SortCondition("<=", (_stored(value),))


def greater(value: Any) -> SortCondition:
    """The sort key is above `value`."""
    return SortCondition(">", (_stored(value),))


def greater_or_equal(value: Any) -> SortCondition:
    """The sort key is `value` or above it."""
    return SortCondition(">=", (_stored(value),))


def between(low: Any, high: Any) -> SortCondition:
    """The sort key is `low`, `high`, or anything in between."""
    return SortCondition("between", (_stored(low), _stored(high)))


def begins_with(prefix: Any) -> SortCondition:
    """The sort key, a string or binary, begins with `prefix`."""
    return SortCondition("begins_with", (_stored(prefix),))
