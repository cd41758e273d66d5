"""Sums of numbers and of sets, in stored form: exact, or refused."""

from __future__ import annotations

from decimal import Context, Decimal

from mynamo.errors import InvalidItem
from mynamo.expressions.nodes import Value
from mynamo.schemas.numbers import canonical_number
from mynamo.schemas.values import sorted_set

__all__ = ["WRONG_TYPE", "add_numbers", "subtract_numbers", "union", "without"]

WRONG_TYPE = "An operand in the update expression has an incorrect data type"
# Two numbers in range need at most 126 + 130 + 38 digits together; one more for the carry.
_EXACT = Context(prec=400, Emax=999999, Emin=-999999)


def add_numbers(left: Value, right: Value) -> Value:
    """The sum of two numbers. Raises InvalidItem if DynamoDB cannot store it."""
    return _stored(_EXACT.add(Decimal(left["N"]), Decimal(right["N"])))


def subtract_numbers(left: Value, right: Value) -> Value:
    """The difference of two numbers. Raises InvalidItem if DynamoDB cannot store it."""
    return _stored(_EXACT.subtract(Decimal(left["N"]), Decimal(right["N"])))


def _stored(result: Decimal) -> Value:
    # A zero that is left of two equal numbers has the exponent of their last digits.
    return {"N": canonical_number(result) if result else "0"}


def union(old: Value, more: Value) -> Value:
    """Two sets of one type in one. Raises InvalidItem if they are not that."""
    kind = _set_kind(old, more)
    return sorted_set(kind, list({*old[kind], *more[kind]}))


def without(old: Value, fewer: Value) -> Value | None:
    """A set without the members of another; None if nothing is left. Raises InvalidItem
    if they are not two sets of one type."""
    kind = _set_kind(old, fewer)
    gone = set(fewer[kind])
    left = [member for member in old[kind] if member not in gone]
    return {kind: left} if left else None


def _set_kind(old: Value, other: Value) -> str:
    (kind,) = old
    if kind not in ("SS", "NS", "BS") or kind not in other:
        raise InvalidItem(WRONG_TYPE)
    return kind
