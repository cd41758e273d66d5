"""The model of a batch beside rows that others hold, checked exhaustively by Spin where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_fill_model import errors_of

MODEL = Path(__file__).parents[1] / "models" / "held.pml"


def test_no_write_is_lost_and_no_batch_waits_for_who_was_there(tmp_path: Path) -> None:
    assert errors_of(tmp_path, model=MODEL) == 0


@pytest.mark.parametrize(
    "without", ["NO_LOCK", "NO_COMMITTED", "NO_UNCOMMITTED", "NO_DUPLICATE", "REACHED"]
)
def test_control_the_model_needs_each_mechanism(tmp_path: Path, without: str) -> None:
    assert errors_of(tmp_path, f"-D{without}", model=MODEL) > 0
