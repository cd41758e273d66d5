"""The model of an indexer beside shards that are away, checked exhaustively where Spin is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spin import MODELS, errors_of, is_wrong, large, needs_spin

MODEL = MODELS / "paused.pml"
pytestmark = needs_spin


def test_every_event_is_applied_once_whatever_is_away_when(tmp_path: Path) -> None:
    assert errors_of(MODEL, tmp_path) == 0


@large
def test_a_member_that_wakes_up_late_does_no_harm(tmp_path: Path) -> None:
    assert errors_of(MODEL, tmp_path, "-DMEMBERS=2", "-DOUTAGES=1", "-DDEATHS=0") == 0


@pytest.mark.parametrize(
    "without",
    [
        "NO_HOLD",
        "NO_SEEK",
        "NO_LOWER",
        "FORWARD",
        "LATEST",
        "PASSING",
        "AHEAD",
        "TOLD",
        "WHOLE",
        "REACHED",
    ],
)
def test_control_the_model_needs_each_mechanism(tmp_path: Path, without: str) -> None:
    assert is_wrong(MODEL, tmp_path, f"-D{without}")
