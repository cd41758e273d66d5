"""From syntax to nodes: placeholders become names and values, and operands are checked.

Observed of DynamoDB: operands are looked up from left to right, then what takes them is
checked; the first thing wrong in the text is the one reported.
"""

from __future__ import annotations

from mynamo.errors import InvalidExpression
from mynamo.expressions.actions import IfNotExists, ListAppend, Minus, Plus
from mynamo.expressions.nodes import Literal, Operand, Path, Size, Value
from mynamo.expressions.placeholders import Placeholders
from mynamo.expressions.syntax import OperandSyntax, PathSyntax, ValueSyntax

__all__ = [
    "bind_operand",
    "bind_path",
    "bind_value",
    "check_count",
    "check_distinct",
    "check_types",
    "path_of",
    "shown",
    "type_of",
    "wrong_type",
]

MAX_DEPTH = 32
"""Names and indexes in a document path: Developer Guide, "Quotas"."""

_NO_SIZE = frozenset({"N", "BOOL", "NULL"})
_LIST = frozenset({"L"})
_NUMBER = frozenset({"N"})


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
    return placeholders.name(part)  # type: ignore[arg-type]


def bind_value(syntax: ValueSyntax, placeholders: Placeholders) -> Literal:
    """The value of a placeholder. Raises InvalidExpression if it is not defined."""
    return Literal(placeholders.value(syntax.name))


def bind_operand(syntax: OperandSyntax, placeholders: Placeholders) -> Operand:
    """The operand of a condition or update.

    Raises:
        InvalidExpression: a placeholder is not defined, or an operand is of a wrong type.
    """
    if isinstance(syntax, ValueSyntax):
        return bind_value(syntax, placeholders)
    if isinstance(syntax, PathSyntax):
        return bind_path(syntax, placeholders)
    operands: list[Operand] = []
    for operand in syntax.operands:  # no comprehension: one frame for each level of functions
        operands.append(bind_operand(operand, placeholders))
    return _function(syntax.operator, operands)


def _function(function: str, operands: list[Operand]) -> Operand:
    """The node of a function or sum, its operands checked."""
    if function == "size":
        check_count(function, operands, 1)
        if type_of(operands[0]) in _NO_SIZE:
            raise wrong_type(function, str(type_of(operands[0])))
        return Size(operands[0])
    check_count(function, operands, 2)
    left, right = operands
    if function == "if_not_exists":
        check_distinct(function, operands)
        return IfNotExists(path_of(function, left), right)
    if function == "list_append":
        check_types(function, operands, _LIST)
        return ListAppend(left, right)
    check_types(function, operands, _NUMBER)
    return Plus(left, right) if function == "+" else Minus(left, right)


def path_of(function: str, operand: Operand) -> Path:
    """The operand, which must be a path. Raises InvalidExpression if it is none."""
    if not isinstance(operand, Path):
        raise InvalidExpression(
            f"Operator or function requires a document path; operator or function: {function}"
        )
    return operand


def type_of(operand: Operand) -> str | None:
    """The type of an operand, as far as it is known without an item."""
    if isinstance(operand, Literal):
        (kind,) = operand.constant
        return kind
    return "N" if isinstance(operand, Size) else None


def check_count(function: str, operands: list[Operand], count: int) -> None:
    """Raises InvalidExpression if there are more or fewer operands."""
    if len(operands) != count:
        raise InvalidExpression(
            "Incorrect number of operands for operator or function; "
            f"operator or function: {function}, number of operands: {len(operands)}"
        )


def check_types(function: str, operands: list[Operand], types: frozenset[str]) -> None:
    """Raises InvalidExpression if an operand is known to be of another type."""
    for operand in operands:
        kind = type_of(operand)
        if kind is not None and kind not in types:
            raise wrong_type(function, kind)


def check_distinct(function: str, operands: list[Operand]) -> None:
    """Raises InvalidExpression if the first operand is a path and there again."""
    first = operands[0]
    if isinstance(first, Path) and first in operands[1:]:
        raise InvalidExpression(
            "The first operand must be distinct from the remaining operands for this operator "
            f"or function; operator: {function}, first operand: {first}"
        )


def wrong_type(function: str, kind: str) -> InvalidExpression:
    """What an operand of a wrong type is answered with."""
    return InvalidExpression(
        "Incorrect operand type for operator or function; "
        f"operator or function: {function}, operand type: {kind}"
    )


def shown(value: Value) -> str:
    """A value as DynamoDB's messages write it: `{N:2}`."""
    ((kind, body),) = value.items()
    return f"{{{kind}:{body}}}"
