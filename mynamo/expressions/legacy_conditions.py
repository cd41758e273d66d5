"""Expected, QueryFilter, ScanFilter and KeyConditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mynamo.errors import InvalidExpression
from mynamo.expressions.conditions import Condition
from mynamo.expressions.key_conditions import KeyCondition, KeyOperator
from mynamo.expressions.legacy_comparisons import check_name, checked_arguments, comparison
from mynamo.expressions.nodes import And, Or, Predicate, Value
from mynamo.schemas.table import MAX_KEY_ATTRIBUTES
from mynamo.schemas.values import INVALID
from mynamo.schemas.wire import normalise_value

__all__ = ["condition_of_expected", "condition_of_filter", "key_conditions_of"]

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
