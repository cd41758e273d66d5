"""The model of a batch beside rows that others hold, checked exhaustively by Spin where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spin import MODELS, errors_of, is_wrong, needs_spin

MODEL = MODELS / "held.pml"
pytestmark = needs_spin


def test_no_write_is_lost_and_no_batch_waits_for_who_was_there(tmp_path: Path) -> None:
    assert errors_of(MODEL, tmp_path) == 0


@pytest.mark.parametrize(
    "without",
    ["NO_LOCK", "NO_LEAVING", "NO_COMMITTED", "NO_UNCOMMITTED", "NO_DUPLICATE", "REACHED"],
)
def test_control_the_model_needs_each_mechanism(tmp_path: Path, without: str) -> None:
    assert is_wrong(MODEL, tmp_path, f"-D{without}")
