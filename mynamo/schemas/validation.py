"""Reading contracts from messages; what pydantic found wrong, in words for people."""

from __future__ import annotations

from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from mynamo.errors import CorruptData

Model = TypeVar("Model", bound=BaseModel)


NAME_PATTERN = r"^[a-zA-Z0-9_.-]{3,255}$"
"""Of a table's or index's name, by DynamoDB's rule."""

_PATTERNS = {NAME_PATTERN: "must be 3 to 255 of a-z, A-Z, 0-9, '_', '-' and '.'"}
"""Patterns in words."""


def explain(error: ValidationError) -> str:
    """Say what pydantic found wrong, one clause per mistake, without the values."""
    clauses = []
    for mistake in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in mistake["loc"])
        message = mistake["msg"].removeprefix("Value error, ")
        message = _PATTERNS.get(mistake.get("ctx", {}).get("pattern", ""), message)
        clauses.append(f"{place}: {message}" if place else message)
    return "; ".join(clauses)


def load(model: type[Model], message: bytes, what: str) -> Model:
    """Read a contract from a message.

    Args:
        what: the contract's name for people, such as "a write command".

    Raises:
        CorruptData: it is not one.
    """
    try:
        return model.model_validate(orjson.loads(message))
    except orjson.JSONDecodeError as error:
        raise CorruptData(f"not {what}: {error}") from None
    except ValidationError as error:
        raise CorruptData(f"not {what}: {explain(error)}") from None
