"""The model of how a GSI is backfilled, checked exhaustively by Spin where it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spin import MODELS, errors_of, is_wrong, needs_spin

MODEL = MODELS / "backfill.pml"
pytestmark = needs_spin


def test_a_backfilled_index_is_right_whatever_happens_when(tmp_path: Path) -> None:
    assert errors_of(MODEL, tmp_path, "-DENDED=1") == 0


@pytest.mark.parametrize("without", ["NO_LOCK", "NO_COMPARE", "NO_PROOF", "EARLY", "REACHED"])
def test_control_the_model_needs_each_mechanism(tmp_path: Path, without: str) -> None:
    assert is_wrong(MODEL, tmp_path, f"-D{without}")
