"""Conditions on the sort key of a query, and the ranges of key bytes that they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mynamo.errors import InvalidItem, InvalidRequest
from mynamo.schemas.items import to_stored
from mynamo.schemas.table import KeyAttribute
from mynamo.shards.keys import MAX_SORT_KEY, encode_key, prefix_end

StoredValue = Mapping[str, Any]
"""One attribute value in stored form, such as `{"S": "x"}`."""

Comparison = tuple[Literal["=", "<", "<=", ">", ">="], bytes]
"""How a column of key bytes compares with a bound."""

_TYPE_NAMES = {"S": "string", "B": "binary", "N": "number"}


@dataclass(frozen=True, slots=True)
class SortCondition:
    """What the sort key of a query's items must be; made by the functions below.

    Attributes:
        operator: one of SQL's five comparisons, `between` or `begins_with`.
        values: two for `between`, one for all others; in stored form.
    """

    operator: Literal["=", "<", "<=", ">", ">=", "between", "begins_with"]
    values: tuple[StoredValue, ...]

    def comparisons(self, key: KeyAttribute) -> tuple[Comparison, ...]:
        """The condition on the encoded key: comparisons that must all hold.

        Raises:
            InvalidRequest: DynamoDB's message: `begins_with` a number, or a range whose
                lower bound is above its upper one.
            InvalidItem: see `key_bytes`.
        """
        if self.operator == "begins_with":
            return self._prefix(key)
        bounds = [key_bytes(key, value, MAX_SORT_KEY, "range") for value in self.values]
        if self.operator == "between":
            lower, upper = bounds
            if lower > upper:
                raise InvalidRequest(
                    "The BETWEEN operator requires upper bound to be greater than or equal to "
                    f"lower bound; lower bound operand: AttributeValue: {self.values[0]}, "
                    f"upper bound operand: AttributeValue: {self.values[1]}"
                )
            return ((">=", lower), ("<=", upper))
        return ((self.operator, bounds[0]),)

    def _prefix(self, key: KeyAttribute) -> tuple[Comparison, ...]:
        (value,) = self.values
        if key.type == "N" or "N" in value:
            raise InvalidRequest(
                "Incorrect operand type for operator or function; "
                "operator or function: begins_with, operand type: N"
            )
        prefix = key_bytes(key, value, MAX_SORT_KEY, "range")
        end = prefix_end(prefix)
        return ((">=", prefix),) if end is None else ((">=", prefix), ("<", end))


def key_bytes(key: KeyAttribute, value: StoredValue, limit: int, part: str) -> bytes:
    """The bytes that a key attribute is compared by.

    Args:
        key: the attribute.
        value: what it is compared with.
        limit: the most bytes it may have.
        part: "hash" or "range", for the message.

    Raises:
        InvalidItem: the value is of another type than the key, empty, or too long.
    """
    if key.type not in value:
        raise InvalidItem(
            "One or more parameter values were invalid: Condition parameter type does not match "
            f"schema type; {key.name} is of type {key.type}, not {', '.join(value)}"
        )
    data = encode_key(key.type, value)
    if not data:
        raise InvalidItem(
            "One or more parameter values are not valid. The AttributeValue for a key attribute "
            f"cannot contain an empty {_TYPE_NAMES[key.type]} value. Key: {key.name}"
        )
    if len(data) > limit:
        raise InvalidItem(
            "One or more parameter values were invalid: Aggregated size of all "
            f"{part} keys has exceeded the size limit of {limit} bytes"
        )
    return data


def stored_value(value: Any) -> StoredValue:
    """One value from Python form into stored form.

    Raises:
        InvalidItem: it is not one that an attribute can have.
    """
    return to_stored({"value": value})["value"]


def equal(value: Any) -> SortCondition:
    """The sort key is `value`."""
    return SortCondition("=", (stored_value(value),))


def less(value: Any) -> SortCondition:
    """The sort key is below `value`."""
    return SortCondition("<", (stored_value(value),))


def less_or_equal(value: Any) -> SortCondition:
    """The sort key is `value` or below it."""
    return SortCondition("<=", (stored_value(value),))


def greater(value: Any) -> SortCondition:
    """The sort key is above `value`."""
    return SortCondition(">", (stored_value(value),))


def greater_or_equal(value: Any) -> SortCondition:
    """The sort key is `value` or above it."""
    return SortCondition(">=", (stored_value(value),))


def between(low: Any, high: Any) -> SortCondition:
    """The sort key is `low`, `high`, or anything in between."""
    return SortCondition("between", (stored_value(low), stored_value(high)))


def begins_with(prefix: Any) -> SortCondition:
    """The sort key, a string or binary, begins with `prefix`."""
    return SortCondition("begins_with", (stored_value(prefix),))
