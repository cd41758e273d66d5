"""Key conditions: what a query says about the key of a table or index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as OneOf
from typing import TypeAlias

from mynamo.errors import InvalidExpression
from mynamo.expressions.conditions import bind_condition
from mynamo.expressions.nodes import (
    And,
    AttributeExists,
    AttributeNotExists,
    AttributeType,
    BeginsWith,
    Between,
    Comparison,
    Contains,
    In,
    Literal,
    Not,
    Operand,
    Or,
    Path,
    Predicate,
    Size,
    Value,
)
from mynamo.expressions.placeholders import Placeholders

__all__ = ["KIND", "KeyCondition", "KeyOperator", "key_conditions_in", "parse_key_condition"]

KeyOperator: TypeAlias = OneOf["=", "<", "<=", ">", ">=", "between", "begins_with"]

KIND = "KeyConditionExpression"

_MIRRORED: dict[str, KeyOperator] = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_COMPARISONS: dict[str, KeyOperator] = {"=": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_REFUSED: dict[type, str] = {
    Or: "OR",
    Not: "NOT",
    In: "IN",
    Contains: "contains",
    AttributeExists: "attribute_exists",
    AttributeNotExists: "attribute_not_exists",
    AttributeType: "attribute_type",
}


@dataclass(slots=True)
class KeyCondition:
    """What one key attribute must be.

    Attributes:
        name: of the attribute.
        operator: a comparison of the attribute with the value, `between` or `begins_with`.
        values: two for `between`, one for all others; in stored form.
    """

    name: str
    operator: KeyOperator
    values: tuple[Value, ...]


def parse_key_condition(text: str, placeholders: Placeholders) -> tuple[KeyCondition, ...]:
    """The conditions that a text sets, in its order; a value may stand on the left side.

    Whether they are about the keys of a table or index, and how many there may be, is the
    caller's to check.

    Raises:
        InvalidExpression: DynamoDB's message.
    """
    return key_conditions_in(bind_condition(text, placeholders, KIND))


def key_conditions_in(predicate: Predicate) -> tuple[KeyCondition, ...]:
    """What a predicate says of keys: the second half of `parse_key_condition`, for callers
    that check something in between.

    Raises:
        InvalidExpression: it says something else; DynamoDB's message.
    """
    found: dict[str, KeyCondition] = {}
    for test in predicate.parts if isinstance(predicate, And) else (predicate,):
        condition = _key_condition(test)
        if condition.name in found:
            raise InvalidExpression(
                "KeyConditionExpressions must only contain one condition per key"
            )
        found[condition.name] = condition
    return tuple(found.values())


def _key_condition(test: Predicate) -> KeyCondition:
    refused = _REFUSED.get(type(test))
    if isinstance(test, Comparison) and test.operator == "<>":
        refused = "<>"
    if refused:
        raise InvalidExpression(f"Invalid operator used in KeyConditionExpression: {refused}")
    if isinstance(test, Comparison):
        return _comparison(test)
    if isinstance(test, Between):
        operands = [test.operand, test.low, test.high]
        name, values = _attribute_first("BETWEEN", operands)
        return KeyCondition(name, "between", values)
    assert isinstance(test, BeginsWith)  # noqa: S101
    name, values = _attribute_first("begins_with", [test.operand, test.prefix])
    return KeyCondition(name, "begins_with", values)


def _comparison(test: Comparison) -> KeyCondition:
    name, values = _name_and_values([test.left, test.right])
    mirrored = not isinstance(test.left, Path)
    operators = _MIRRORED if mirrored else _COMPARISONS
    return KeyCondition(name, operators[test.operator], values)


def _attribute_first(operator: str, operands: list[Operand]) -> tuple[str, tuple[Value, ...]]:
    if isinstance(operands[0], Literal):
        raise InvalidExpression(
            f"Invalid condition in KeyConditionExpression: {operator} operator must have the key "
            "attribute as its first operand"
        )
    return _name_and_values(operands)


def _name_and_values(operands: list[Operand]) -> tuple[str, tuple[Value, ...]]:
    """The one attribute among the operands, and the values."""
    names: list[str] = []
    values: list[Value] = []
    for operand in operands:
        if isinstance(operand, Size):
            raise InvalidExpression("KeyConditionExpressions cannot contain nested operations")
        if isinstance(operand, Literal):
            values.append(operand.constant)
        elif isinstance(operand, Path):
            if names:
                raise InvalidExpression(
                    "Invalid condition in KeyConditionExpression: "
                    "Multiple attribute names used in one condition"
                )
            if operand.rest:
                raise InvalidExpression(
                    "KeyConditionExpressions cannot have conditions on nested attributes"
                )
            names.append(operand.name)
    if not names:
        raise InvalidExpression(
            "Invalid condition in KeyConditionExpression: No key attribute specified"
        )
    return names[0], tuple(values)
