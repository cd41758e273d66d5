"""Conditions and filters: a predicate over an item; and the operands that updates have as well.

Observed of DynamoDB: operands are looked up from left to right, then what takes them is
checked; the first thing wrong in the text is the one reported.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Literal as OneOf

from mynamo.errors import InvalidExpression
from mynamo.expressions.actions import IfNotExists, ListAppend, Minus, Plus
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
    Size,
    Value,
    ordered,
)
from mynamo.expressions.parser import (
    Call,
    ConditionSyntax,
    Connective,
    Negation,
    OperandSyntax,
    PathSyntax,
    ValueSyntax,
)
from mynamo.expressions.placeholders import Placeholders
from mynamo.schemas.values import StoredItem

__all__ = [
    "Condition",
    "bind_condition",
    "bind_operand",
    "bind_path",
    "parse_condition",
    "shown",
]

MAX_DEPTH = 32
"""Names and indexes in a document path: Developer Guide, "Quotas"."""
MAX_CHOICES = 100
"""Operands of IN: Developer Guide, "Quotas"."""

_NO_SIZE = frozenset({"N", "BOOL", "NULL"})
_LIST = frozenset({"L"})
_NUMBER = frozenset({"N"})
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
        _check_distinct(name, operands)
        if name not in ("=", "<>"):
            _check_types(name, operands, _SORTABLE)
        return Comparison(name, operands[0], operands[1])
    if name == "BETWEEN":
        return _between(operands)
    if name == "IN":
        return _in(operands)
    if name in ("attribute_exists", "attribute_not_exists"):
        _check_count(name, operands, 1)
        path = _path_of(name, operands[0])
        return AttributeExists(path) if name == "attribute_exists" else AttributeNotExists(path)
    _check_count(name, operands, 2)
    _check_distinct(name, operands)
    if name == "attribute_type":
        return _attribute_type(operands)
    if name == "contains":
        return Contains(operands[0], operands[1])
    _check_types(name, operands, _TEXTS)
    return BeginsWith(operands[0], operands[1])


def _between(operands: list[Operand]) -> Between:
    _check_types("BETWEEN", operands, _SORTABLE)
    _check_distinct("BETWEEN", operands)
    operand, low, high = operands
    if isinstance(low, Literal) and isinstance(high, Literal):
        if _type_of(low) != _type_of(high):
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
    _check_distinct("IN", operands)
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
        raise _wrong_type("attribute_type", _ANY_TYPE)
    _check_types("attribute_type", [wanted], _STRING)
    assert isinstance(wanted, Literal)  # noqa: S101
    name = wanted.constant["S"]
    if name not in _TYPES[1:-1].split(","):
        raise InvalidExpression(
            f"Invalid attribute type name found; type: {name}, valid types: {_TYPES}"
        )
    return AttributeType(operand, name)


def bind_path(syntax: PathSyntax, placeholders: Placeholders) -> Path:
    """The path without placeholders.

    Raises:
        InvalidExpression: a placeholder is not defined, or the path is too long.
    """
    parts = syntax.parts
    if len(parts) > MAX_DEPTH:
        raise InvalidExpression(
            f"The document path has too many nesting levels; nesting levels: {len(parts)}"
        )
    if not syntax.plain:
        parts = tuple([_name(part, placeholders) for part in parts])
    return Path(str(parts[0]), parts[1:])


def _name(part: str | int, placeholders: Placeholders) -> str | int:
    if type(part) is int or part[0] != "#":  # type: ignore[index]
        return part
    placeholders.unused_names.discard(part)
    try:
        return placeholders.names[part]  # type: ignore[index]
    except KeyError:
        raise InvalidExpression(
            "An expression attribute name used in the document path is not defined; "
            f"attribute name: {part}"
        ) from None


def _value(syntax: ValueSyntax, placeholders: Placeholders) -> Literal:
    placeholders.unused_values.discard(syntax.name)
    try:
        return Literal(placeholders.values[syntax.name])
    except KeyError:
        raise InvalidExpression(
            "An expression attribute value used in expression is not defined; "
            f"attribute value: {syntax.name}"
        ) from None


def bind_operand(syntax: OperandSyntax, placeholders: Placeholders) -> Operand:
    """The operand of a condition or update.

    Raises:
        InvalidExpression: a placeholder is not defined, or an operand is of a wrong type.
    """
    if isinstance(syntax, ValueSyntax):
        return _value(syntax, placeholders)
    if isinstance(syntax, PathSyntax):
        return bind_path(syntax, placeholders)
    operands: list[Operand] = []
    for operand in syntax.operands:  # no comprehension: one frame for each level of functions
        operands.append(bind_operand(operand, placeholders))
    return _function(syntax.operator, operands)


def _function(function: str, operands: list[Operand]) -> Operand:
    """The node of a function or sum, its operands checked."""
    if function == "size":
        _check_count(function, operands, 1)
        if _type_of(operands[0]) in _NO_SIZE:
            raise _wrong_type(function, str(_type_of(operands[0])))
        return Size(operands[0])
    _check_count(function, operands, 2)
    left, right = operands
    if function == "if_not_exists":
        _check_distinct(function, operands)
        return IfNotExists(_path_of(function, left), right)
    if function == "list_append":
        _check_types(function, operands, _LIST)
        return ListAppend(left, right)
    _check_types(function, operands, _NUMBER)
    return Plus(left, right) if function == "+" else Minus(left, right)


def _path_of(function: str, operand: Operand) -> Path:
    """The operand, which must be a path. Raises InvalidExpression if it is none."""
    if not isinstance(operand, Path):
        raise InvalidExpression(
            f"Operator or function requires a document path; operator or function: {function}"
        )
    return operand


def _type_of(operand: Operand) -> str | None:
    """The type of an operand, as far as it is known without an item."""
    if isinstance(operand, Literal):
        (kind,) = operand.constant
        return kind
    return "N" if isinstance(operand, Size) else None


def _check_count(function: str, operands: list[Operand], count: int) -> None:
    """Raises InvalidExpression if there are more or fewer operands."""
    if len(operands) != count:
        raise InvalidExpression(
            "Incorrect number of operands for operator or function; "
            f"operator or function: {function}, number of operands: {len(operands)}"
        )


def _check_types(function: str, operands: list[Operand], types: frozenset[str]) -> None:
    """Raises InvalidExpression if an operand is known to be of another type."""
    for operand in operands:
        kind = _type_of(operand)
        if kind is not None and kind not in types:
            raise _wrong_type(function, kind)


def _check_distinct(function: str, operands: list[Operand]) -> None:
    """Raises InvalidExpression if the first operand is a path and there again."""
    first = operands[0]
    if isinstance(first, Path) and first in operands[1:]:
        raise InvalidExpression(
            "The first operand must be distinct from the remaining operands for this operator "
            f"or function; operator: {function}, first operand: {first}"
        )


def _wrong_type(function: str, kind: str) -> InvalidExpression:
    """What an operand of a wrong type is answered with."""
    return InvalidExpression(
        "Incorrect operand type for operator or function; "
        f"operator or function: {function}, operand type: {kind}"
    )


def shown(value: Value) -> str:
    """A value as DynamoDB's messages write it: `{N:2}`."""
    ((kind, body),) = value.items()
    return f"{{{kind}:{body}}}"
