"""How much a run of the tests tries, of what is random and of what is much alike."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

VARIABLE = "MYNAMO_TEST_AMOUNT"
"""Environment variable: a whole number; `make test-nightly` sets it."""
AMOUNT = int(os.environ.get(VARIABLE) or "1")


def amount(few: int) -> int:
    """So many tries in an ordinary run; a multiple of them where more is asked for."""
    return few * AMOUNT


nightly = pytest.mark.skipif(AMOUNT == 1, reason="`make test-nightly` runs it")


def one_of(each: int, values: Sequence[Any], first: int = 0) -> list[Any]:
    """Parameters that are much alike: one of so many in an ordinary run, all where more is asked
    for. Tests with the same values begin at different ones, so that together they take all."""
    return [
        value if number % each == first else pytest.param(value, marks=nightly)
        for number, value in enumerate(values)
    ]
