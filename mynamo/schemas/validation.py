"""Reading contracts from messages; what pydantic found wrong, in words for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import orjson
from pydantic import BaseModel, ValidationError

from mynamo.errors import CorruptData, NewerFormat
from mynamo.schemas.suggestions import suggestion

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


Model = TypeVar("Model", bound=BaseModel)


NAME_PATTERN = r"^[a-zA-Z0-9_.-]{3,255}$"
"""Of a table's or index's name, by DynamoDB's rule."""

_PATTERNS = {NAME_PATTERN: "must be 3 to 255 of a-z, A-Z, 0-9, '_', '-' and '.'"}
"""Patterns in words."""


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Say what pydantic found wrong, one clause per mistake, without the values.

    Args:
        model: that was validated, for names that a misspelt one may stand for.
    """
    clauses = []
    mistakes = error.errors(include_url=False, include_input=False)
    for mistake in mistakes:
        if mistake["type"] == "too_short" and _is_inside(mistake["loc"], mistakes):
            continue  # only what is wrong with the members left too few of them
        path = ".".join(str(part) for part in mistake["loc"])
        message = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "missing":
            message = "is missing"
        if mistake["type"] == "extra_forbidden":
            message = f"not known{_likely(mistake['loc'], model)}"
        message = _PATTERNS.get(mistake.get("ctx", {}).get("pattern", ""), message)
        clauses.append(f"{path}: {message}" if path else message)
    return "; ".join(clauses)


def _is_inside(path: tuple[int | str, ...], mistakes: Sequence[ErrorDetails]) -> bool:
    """Whether another mistake is inside this path."""
    return any(
        len(each["loc"]) > len(path) and each["loc"][: len(path)] == path for each in mistakes
    )


def _likely(path: tuple[int | str, ...], model: type[BaseModel] | None) -> str:
    """What a name that is not known may have been meant for."""
    for part in path[:-1]:
        field = model.model_fields.get(str(part)) if model and isinstance(part, str) else None
        if field is not None:
            model = next(iter(_models_in(field.annotation)), None)
    return suggestion(str(path[-1]), model.model_fields) if model else ""


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def load(model: type[Model], message: bytes, what: str, newest: int | None = None) -> Model:
    """Read a contract from a message.

    Args:
        what: the contract's name for people, such as "a write command".
        newest: the newest format of it that this version knows, where its formats have numbers.

    Raises:
        CorruptData: it is not one.
        NewerFormat: it is of a later format.
    """
    try:
        content = orjson.loads(message)
        if newest is not None and isinstance(content, dict):
            number = content.get("format")
            if type(number) is int and number > newest:
                raise NewerFormat(
                    f"{what} is of format {number}, and this version of mynamo knows formats up to "
                    f"{newest}; upgrade this process"
                )
        return model.model_validate(content)
    except orjson.JSONDecodeError as error:
        raise CorruptData(f"not {what}: {error}") from None
    except ValidationError as error:
        raise CorruptData(f"not {what}: {explain(error)}") from None
