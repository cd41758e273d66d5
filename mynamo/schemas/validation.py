"""What pydantic found wrong, in words for the person who wrote it."""

from __future__ import annotations

from pydantic import ValidationError


def explain(error: ValidationError) -> str:
    """Say what pydantic found wrong, one clause per mistake, without the values."""
    clauses = []
    for mistake in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in mistake["loc"])
        message = mistake["msg"].removeprefix("Value error, ")
        clauses.append(f"{place}: {message}" if place else message)
    return "; ".join(clauses)
