"""Expected, QueryFilter, ScanFilter and KeyConditions: operators, and what each takes and means."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mynamo.errors import InvalidExpression
from mynamo.expressions.conditions import Condition
from mynamo.expressions.key_conditions import KeyCondition, KeyOperator
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
    Or,
    Path,
    Predicate,
    Value,
    ordered,
)
from mynamo.schemas.table import MAX_KEY_ATTRIBUTES
from mynamo.schemas.values import INVALID, normalise_value

__all__ = [
    "check_name",
    "checked_arguments",
    "comparison",
    "condition_of_expected",
    "condition_of_filter",
    "key_conditions_of",
]


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


_KEY_OPERATORS: dict[str, KeyOperator] = {
    "EQ": "=",
    "LT": "<",
    "LE": "<=",
    "GT": ">",
    "GE": ">=",
    "BETWEEN": "between",
    "BEGINS_WITH": "begins_with",
}


def condition_of_expected(
    expected: Mapping[str, Any] | None, conditional_operator: str | None
) -> Condition:
    """What Expected asks for, in either of its forms.

    Raises:
        InvalidExpression: its members do not fit each other, or the operator has nothing
            to combine.
        InvalidItem: a value is no attribute value.
    """
    predicates = [_expected(*entry) for entry in (expected or {}).items()]
    return _combined(predicates, conditional_operator)


def condition_of_filter(
    conditions: Mapping[str, Any] | None, conditional_operator: str | None, kind: str
) -> Condition:
    """What a QueryFilter or ScanFilter asks for.

    Args:
        kind: "QueryFilter" or "ScanFilter", for messages.

    Raises:
        InvalidExpression: an operator and its values do not fit, or the conditional
            operator has nothing to combine.
        InvalidItem: a value is no attribute value.
    """
    predicates = [
        comparison(name, operator, values)
        for name, operator, values in _conditions(conditions or {}, kind)
    ]
    return _combined(predicates, conditional_operator)


def key_conditions_of(key_conditions: Mapping[str, Any]) -> tuple[KeyCondition, ...]:
    """What KeyConditions ask for, in their order: whether a table or an index has so many key
    attributes is the caller's to check, as for a KeyConditionExpression.

    Raises:
        InvalidExpression: an operator and its values do not fit, or no index can answer it.
        InvalidItem: a value is no attribute value.
    """
    conditions = _conditions(key_conditions, "KeyConditions")
    if not 1 <= len(conditions) <= 2 * MAX_KEY_ATTRIBUTES:
        raise InvalidExpression("Conditions can be of length 1 or 2 only")
    return tuple(_key_condition(*condition) for condition in conditions)


def _key_condition(name: str, operator: str, values: list[Value]) -> KeyCondition:
    known = _KEY_OPERATORS.get(operator)
    if known is None:
        raise InvalidExpression("Attempted conditional constraint is not an indexable operation")
    return KeyCondition(name, known, tuple(values))


def _conditions(wire: Mapping[str, Any], kind: str) -> list[tuple[str, str, list[Value]]]:
    conditions = []
    for name, condition in wire.items():
        check_name(name)
        operator = condition.get("ComparisonOperator")
        arguments = condition.get("AttributeValueList") or ()
        place = f"{kind[0].lower()}{kind[1:]}.{name}"
        conditions.append((name, operator, checked_arguments(operator, arguments, place)))
    return conditions


def _expected(name: str, wire: Mapping[str, Any]) -> Predicate:
    check_name(name)
    value = wire.get("Value")
    listed = wire.get("AttributeValueList")
    operator = wire.get("ComparisonOperator")
    exists = wire.get("Exists")
    if value is not None and listed is not None:
        _refuse("Value and AttributeValueList cannot be used together", name)
    if operator is None:
        if listed is not None:
            _refuse("AttributeValueList can only be used with a ComparisonOperator", name)
        return _existing(name, exists, value)
    if exists is not None:
        _refuse("Exists and ComparisonOperator cannot be used together", name)
    arguments: Sequence[Any] = (listed or ()) if value is None else (value,)
    if value is None and listed is None and operator not in ("NULL", "NOT_NULL"):
        _refuse(
            f"Value or AttributeValueList must be used with ComparisonOperator: {operator}", name
        )
    return comparison(name, operator, checked_arguments(operator, arguments, f"expected.{name}"))


def _existing(name: str, exists: bool | None, value: Any) -> Predicate:
    """The older form: Value, Exists or both."""
    if exists is False:
        if value is not None:
            _refuse("Value cannot be used when Exists is false", name)
        return comparison(name, "NULL", ())
    if value is None:
        _refuse(f"Value must be provided when Exists is {'true' if exists else 'null'}", name)
    return comparison(name, "EQ", [normalise_value(value)])


def _combined(predicates: list[Predicate], conditional_operator: str | None) -> Condition:
    if conditional_operator is not None:
        if not predicates:
            raise InvalidExpression("ConditionalOperator cannot be used without Filter or Expected")
        if len(predicates) == 1:
            raise InvalidExpression(
                "ConditionalOperator can only be used when Filter or Expected has two or more "
                "elements"
            )
    parts = tuple(predicates)
    return Condition(Or(parts) if conditional_operator == "OR" else And(parts))


def _refuse(problem: str, name: str) -> None:
    raise InvalidExpression(f"{INVALID}{problem} for Attribute: {name}")
