"""ComparisonOperator and AttributeValueList: what each operator takes and what it means."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mynamo.errors import InvalidExpression
from mynamo.expressions.nodes import (
    And,
    AttributeExists,
    AttributeNotExists,
    BeginsWith,
    Between,
    Comparison,
    Contains,
    In,
    Literal,
    Not,
    Path,
    Predicate,
    Value,
    ordered,
)
from mynamo.schemas.values import INVALID
from mynamo.schemas.wire import normalise_value

__all__ = ["check_name", "checked_arguments", "comparison"]

_ANY = frozenset({"S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", "L", "M"})
_SCALAR = frozenset({"S", "N", "B"})
_MEMBER = _SCALAR | {"BOOL", "NULL"}
_PREFIX = frozenset({"S", "B"})


@dataclass(frozen=True, slots=True)
class _Operator:
    """A ComparisonOperator.

    Attributes:
        arguments: how many values it takes; None: one or more.
        types: those of its values.
        predicate: from the attribute and the values to what they mean.
    """

    arguments: int | None
    types: frozenset[str]
    predicate: Callable[..., Predicate]


def _compare(sign: str) -> Callable[[Path, Literal], Predicate]:
    return lambda path, value: Comparison(sign, path, value)


_OPERATORS = {
    "EQ": _Operator(1, _ANY, _compare("=")),
    "NE": _Operator(1, _ANY, _compare("<>")),
    "LT": _Operator(1, _SCALAR, _compare("<")),
    "LE": _Operator(1, _SCALAR, _compare("<=")),
    "GT": _Operator(1, _SCALAR, _compare(">")),
    "GE": _Operator(1, _SCALAR, _compare(">=")),
    "IN": _Operator(None, _SCALAR, lambda path, *values: In(path, values)),
    "BETWEEN": _Operator(2, _SCALAR, Between),
    "BEGINS_WITH": _Operator(1, _PREFIX, BeginsWith),
    "CONTAINS": _Operator(1, _MEMBER, Contains),
    # Unlike NOT contains(...), it does not hold where the attribute is missing.
    "NOT_CONTAINS": _Operator(
        1, _MEMBER, lambda path, value: And((AttributeExists(path), Not(Contains(path, value))))
    ),
    "NULL": _Operator(0, _ANY, AttributeNotExists),
    "NOT_NULL": _Operator(0, _ANY, AttributeExists),
}


def check_name(name: str) -> None:
    """Refuse an attribute name without characters."""
    if not name:
        raise InvalidExpression("Empty attribute name")


def comparison(name: str, operator_name: str, values: Sequence[Value]) -> Predicate:
    """What an operator says about an attribute.

    Args:
        values: as `checked_arguments` returned them for this operator.
    """
    return _OPERATORS[operator_name].predicate(Path(name), *map(Literal, values))


def checked_arguments(operator_name: str | None, wire: Sequence[Any], place: str) -> list[Value]:
    """An operator's values, in stored form.

    Args:
        place: of the condition in the request, for the message about its operator.

    Raises:
        InvalidExpression: there is no such operator, or it does not take so many values or
            values of such types, or the bounds of BETWEEN are the wrong way round.
        InvalidItem: one of them is no attribute value.
    """
    known = _OPERATORS.get(operator_name or "")
    if known is None:
        raise InvalidExpression(_no_operator(operator_name, place))
    values = [normalise_value(value) for value in wire]
    if len(values) != known.arguments and (known.arguments is not None or not values):
        raise InvalidExpression(
            f"{INVALID}Invalid number of argument(s) for the {operator_name} ComparisonOperator"
        )
    kinds = [kind for value in values for kind in value]
    for kind in kinds:
        if kind not in known.types:
            raise InvalidExpression(
                f"{INVALID}ComparisonOperator {operator_name} is not valid for {kind} "
                "AttributeValue type"
            )
    if len(set(kinds)) > 1:
        raise InvalidExpression(
            f"{INVALID}AttributeValues inside AttributeValueList must be of same type"
        )
    if operator_name == "BETWEEN" and ordered(operator.gt, *values):
        raise InvalidExpression(
            "The BETWEEN condition was provided a range where the lower bound is greater than "
            "the upper bound"
        )
    return values


def _no_operator(operator_name: str | None, place: str) -> str:
    value = "null" if operator_name is None else f"'{operator_name}'"
    rule = (
        "Member must not be null"
        if operator_name is None
        else f"Member must satisfy enum value set: [{', '.join(_OPERATORS)}]"
    )
    return (
        f"1 validation error detected: Value {value} at '{place}.member.comparisonOperator' "
        f"failed to satisfy constraint: {rule}"
    )
