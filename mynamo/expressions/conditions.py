"""Conditions and filters: a predicate over an item."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Literal as OneOf

from mynamo.errors import InvalidExpression
from mynamo.expressions.binding import (
    Placeholders,
    bind_operand,
    check_count,
    check_distinct,
    check_types,
    path_of,
    shown,
    type_of,
    wrong_type,
)
from mynamo.expressions.grammar import condition_syntax
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
    ordered,
)
from mynamo.expressions.parser import Call, ConditionSyntax, Connective, Negation, check_size
from mynamo.schemas.values import StoredItem

__all__ = ["Condition", "bind_condition", "parse_condition"]

MAX_CHOICES = 100
"""Operands of IN: Developer Guide, "Quotas"."""

_SORTABLE = frozenset({"S", "N", "B"})
_TEXTS = frozenset({"S", "B"})
_STRING = frozenset({"S"})
# The sets of types as DynamoDB's messages list them.
_TYPES = "{B,NULL,SS,BOOL,L,BS,N,NS,S,M}"
_ANY_TYPE = "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}"


@dataclass(slots=True)
class Condition:
    """What must hold for an item.

    Attributes:
        predicate: the tree of nodes.
    """

    predicate: Predicate

    def holds(self, item: StoredItem | None) -> bool:
        """Whether it holds; None, no item, is like an item without attributes."""
        return self.predicate.holds(item or {})

    @property
    def names(self) -> frozenset[str]:
        """The top-level attributes that it looks at."""
        return frozenset(path.name for path in self.predicate.paths())


def parse_condition(
    text: str,
    placeholders: Placeholders,
    kind: OneOf["ConditionExpression", "FilterExpression"] = "ConditionExpression",
) -> Condition:
    """The condition that a text means.

    Args:
        kind: the name of the parameter, for messages.

    Raises:
        InvalidExpression: DynamoDB's message.
    """
    return Condition(bind_condition(text, placeholders, kind))


def bind_condition(text: str, placeholders: Placeholders, kind: str) -> Predicate:
    """The nodes that a text means. Raises InvalidExpression with DynamoDB's message."""
    try:
        check_size(text)
        return _bind(condition_syntax(text), placeholders)
    except InvalidExpression as error:
        raise InvalidExpression(f"Invalid {kind}: {error}") from None


def _bind(syntax: ConditionSyntax, placeholders: Placeholders) -> Predicate:
    if isinstance(syntax, Call):
        operands = [bind_operand(operand, placeholders) for operand in syntax.operands]
        return _predicate(syntax.operator, operands)
    if isinstance(syntax, Negation):
        return Not(_bind(syntax.part, placeholders))
    assert isinstance(syntax, Connective)  # noqa: S101
    parts: list[Predicate] = []
    for part in syntax.parts:  # no comprehension: one frame for each level of the tree
        parts.append(_bind(part, placeholders))
    return And(tuple(parts)) if syntax.operator == "AND" else Or(tuple(parts))


def _predicate(name: str, operands: list[Operand]) -> Predicate:
    """The node of an operator or function, its operands checked."""
    if name in ("=", "<>", "<", "<=", ">", ">="):
        check_distinct(name, operands)
        if name not in ("=", "<>"):
            check_types(name, operands, _SORTABLE)
        return Comparison(name, operands[0], operands[1])
    if name == "BETWEEN":
        return _between(operands)
    if name == "IN":
        return _in(operands)
    if name in ("attribute_exists", "attribute_not_exists"):
        check_count(name, operands, 1)
        path = path_of(name, operands[0])
        return AttributeExists(path) if name == "attribute_exists" else AttributeNotExists(path)
    check_count(name, operands, 2)
    check_distinct(name, operands)
    if name == "attribute_type":
        return _attribute_type(operands)
    if name == "contains":
        return Contains(operands[0], operands[1])
    check_types(name, operands, _TEXTS)
    return BeginsWith(operands[0], operands[1])


def _between(operands: list[Operand]) -> Between:
    check_types("BETWEEN", operands, _SORTABLE)
    check_distinct("BETWEEN", operands)
    operand, low, high = operands
    if isinstance(low, Literal) and isinstance(high, Literal):
        if type_of(low) != type_of(high):
            rule = "same data type for lower and upper bounds"
        elif not ordered(operator.le, low.constant, high.constant):
            rule = "upper bound to be greater than or equal to lower bound"
        else:
            return Between(operand, low, high)
        raise InvalidExpression(
            f"The BETWEEN operator requires {rule}; "
            f"lower bound operand: AttributeValue: {shown(low.constant)}, "
            f"upper bound operand: AttributeValue: {shown(high.constant)}"
        )
    return Between(operand, low, high)


def _in(operands: list[Operand]) -> In:
    check_distinct("IN", operands)
    choices = operands[1:]
    if len(choices) > MAX_CHOICES:
        raise InvalidExpression(
            "The IN operator is provided with too many operands; "
            f"number of operands: {len(choices)}"
        )
    return In(operands[0], tuple(choices))


def _attribute_type(operands: list[Operand]) -> AttributeType:
    operand, wanted = operands
    if isinstance(wanted, Path):
        raise wrong_type("attribute_type", _ANY_TYPE)
    check_types("attribute_type", [wanted], _STRING)
    assert isinstance(wanted, Literal)  # noqa: S101
    name = wanted.constant["S"]
    if name not in _TYPES[1:-1].split(","):
        raise InvalidExpression(
            f"Invalid attribute type name found; type: {name}, valid types: {_TYPES}"
        )
    return AttributeType(operand, name)
