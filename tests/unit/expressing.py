"""What the tests of expressions share: short ways to parse and to evaluate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mynamo.errors import InvalidExpression
from mynamo.expressions import (
    Condition,
    Placeholders,
    Projection,
    Update,
    parse_condition,
    parse_projection,
    parse_update,
)
from mynamo.schemas.items import to_stored
from mynamo.schemas.values import StoredItem

NAMES = {"#a": "a", "#b": "b", "#name": "name"}


def placeholders(names: dict[str, str] | None, values: dict[str, Any]) -> Placeholders:
    """Placeholders with values in Python form, named without their colons."""
    stored = to_stored({f":{name}": value for name, value in values.items()})
    return Placeholders(names, stored or None)


def condition(text: str, names: dict[str, str] | None = None, /, **values: Any) -> Condition:
    return parse_condition(text, placeholders(names, values))


def update(text: str, names: dict[str, str] | None = None, /, **values: Any) -> Update:
    return parse_update(text, placeholders(names, values))


def projection(text: str, names: dict[str, str] | None = None, /, **values: Any) -> Projection:
    return parse_projection(text, placeholders(names, values))


def holds(text: str, item: dict[str, Any] | None, /, **values: Any) -> bool:
    """Whether a condition holds for an item in Python form."""
    return condition(text, **values).holds(None if item is None else to_stored(item))


def refusal(
    parse: Callable[..., object], text: str, names: dict[str, str] | None = None, /, **values: Any
) -> str:
    """The message that a text is refused with, without its first words."""
    with pytest.raises(InvalidExpression) as caught:
        parse(text, names, **values)
    return str(caught.value).partition("Expression: ")[2]


def applied(text: str, item: dict[str, Any], /, **values: Any) -> StoredItem:
    """An item in Python form after an update, in stored form."""
    return update(text, **values).apply(to_stored(item))
