"""The constraints that a shape puts on its values, each with AWS's sentence for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from mynamo.gateway.shapes import ListOf, MapOf, Text, Whole

NOT_NULL = "Member must not be null"
MOST_NAMES = 1024
"""Names that are known to be good, which saves looking at them again."""


class Constraint(NamedTuple):
    """One constraint.

    Attributes:
        text: what messages say of it.
        holds: whether a value satisfies it.
    """

    text: str
    holds: Callable[[Any], bool]


def constraints_of(shape: Text | Whole) -> list[Constraint]:
    """Those on a scalar, in the order in which they are reported."""
    if isinstance(shape, Whole):
        return _range(shape)
    if shape.values:
        return [_one_of(shape.values)]
    if shape.or_arn:
        # Of nothing at all one error is enough.
        names = [_unless(each, lambda v: not v or _is_arn(v)) for each in _of_text(shape)]
        return [_at_least(1), *names, _at_most(1024)]
    return _of_text(shape)


def key_constraints(shape: Text) -> list[Constraint]:
    """Those on the keys of a map."""
    own = _of_text(shape)
    return [_unless(each, _is_arn) for each in own] if shape.or_arn else own


def size_constraints(shape: ListOf | MapOf) -> list[Constraint]:
    """Those on the number of members of a list or map."""
    return _sizes(shape.least, shape.most)


def listed(constraints: list[Constraint]) -> str:
    """Several constraints as the members of a collection must satisfy them."""
    # Here AWS names upper limits first.
    texts = sorted((each.text for each in constraints), key=_place)
    return f"[{', '.join(texts)}]"


_PLACES = ("less", "greater", "pattern")


def _place(text: str) -> int:
    return next((place for place, word in enumerate(_PLACES) if word in text), len(_PLACES))


def _of_text(shape: Text) -> list[Constraint]:
    found = []
    if shape.pattern is not None:
        matches = re.compile(shape.pattern).fullmatch
        found.append(
            Constraint(
                f"Member must satisfy regular expression pattern: {shape.pattern}",
                lambda value: matches(value) is not None,
            )
        )
    return found + _sizes(shape.least, shape.most)


def _sizes(least: int | None, most: int | None) -> list[Constraint]:
    found = []
    if least:
        found.append(_at_least(least))
    if most is not None:
        found.append(_at_most(most))
    return found


def _at_least(size: int) -> Constraint:
    text = f"Member must have length greater than or equal to {size}"
    return Constraint(text, lambda value: len(value) >= size)


def _at_most(size: int) -> Constraint:
    text = f"Member must have length less than or equal to {size}"
    return Constraint(text, lambda value: len(value) <= size)


def _range(shape: Whole) -> list[Constraint]:
    found = []
    least, most = shape.least, shape.most
    if least is not None:
        text = f"Member must have value greater than or equal to {least}"
        found.append(Constraint(text, lambda value: value >= least))
    if most is not None:
        text = f"Member must have value less than or equal to {most}"
        found.append(Constraint(text, lambda value: value <= most))
    return found


def _one_of(values: tuple[str, ...]) -> Constraint:
    text = f"Member must satisfy enum value set: [{', '.join(values)}]"
    return Constraint(text, frozenset(values).__contains__)


def _unless(constraint: Constraint, spared: Callable[[str], bool]) -> Constraint:
    return Constraint(constraint.text, lambda value: constraint.holds(value) or spared(value))


def _is_arn(value: str) -> bool:
    return value.startswith("arn:")
