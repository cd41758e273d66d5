"""PynamoDB's models."""

from __future__ import annotations

from collections.abc import Callable


def test_models(python: Callable[..., str]) -> None:
    assert python("pynamodb_models.py").splitlines()[-1] == "all of it works"
