"""How much of what is random a run of the tests tries."""

from __future__ import annotations

import os

VARIABLE = "MYNAMO_TEST_AMOUNT"
"""Environment variable: a whole number; `make test-nightly` sets it."""
AMOUNT = int(os.environ.get(VARIABLE) or "1")


def amount(few: int) -> int:
    """So many tries in an ordinary run; a multiple of them where more is asked for."""
    return few * AMOUNT
