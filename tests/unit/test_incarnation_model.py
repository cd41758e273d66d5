"""The model of a shard that goes back in time, checked exhaustively by Spin where it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spin import MODELS, errors_of, is_wrong, needs_spin

MODEL = MODELS / "incarnation.pml"
pytestmark = needs_spin


def test_indexes_are_right_whatever_is_restored_when(tmp_path: Path) -> None:
    assert errors_of(MODEL, tmp_path, "-DWRITES=2") == 0


@pytest.mark.parametrize(
    "without",
    ["NO_ADOPT", "NO_RENUMBER", "NO_FENCE", "NO_LOST", "LATE_NOTE", "NO_MEND", "REACHED"],
)
def test_control_the_model_needs_each_mechanism(tmp_path: Path, without: str) -> None:
    assert is_wrong(MODEL, tmp_path, f"-D{without}")
