"""What expressions say, before their placeholders are known: the trees that are cached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "ActionSyntax",
    "Call",
    "ConditionSyntax",
    "Connective",
    "Negation",
    "OperandSyntax",
    "PathSyntax",
    "ValueSyntax",
]


@dataclass(frozen=True, slots=True)
class PathSyntax:
    """A document path.

    Attributes:
        parts: names, `#placeholders` and list indexes.
        plain: it has no placeholders.
    """

    parts: tuple[str | int, ...]
    plain: bool


@dataclass(frozen=True, slots=True)
class ValueSyntax:
    """A `:placeholder`."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function or an operator with its operands: `size(a)`, `a < :b`, `a IN (:b)`, `a + :b`.

    Attributes:
        operator: as DynamoDB's messages name it.
        at: the number of its token.
    """

    operator: str
    operands: tuple[OperandSyntax, ...]
    at: int = 0


@dataclass(frozen=True, slots=True)
class Connective:
    """Conditions joined by AND or OR.

    Attributes:
        operator: AND or OR.
        parts: two or more, none of them a Connective with the same operator.
    """

    operator: str
    parts: tuple[ConditionSyntax, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """NOT and a condition."""

    part: ConditionSyntax


@dataclass(frozen=True, slots=True)
class ActionSyntax:
    """One action of an update.

    Attributes:
        clause: SET, REMOVE, ADD or DELETE.
        operand: None for REMOVE.
    """

    clause: str
    path: PathSyntax
    operand: OperandSyntax | None


OperandSyntax: TypeAlias = PathSyntax | ValueSyntax | Call
ConditionSyntax: TypeAlias = Call | Connective | Negation
