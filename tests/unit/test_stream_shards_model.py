"""The models of stream shards while slots move, checked by Spin where it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spin import MODELS, errors_of, is_wrong, needs_spin

MODEL = MODELS / "stream_shards.pml"
RANGES = MODELS / "stream_ranges.pml"

pytestmark = needs_spin


def test_a_consumer_sees_every_change_once_and_in_order(tmp_path: Path) -> None:
    assert errors_of(MODEL, tmp_path) == 0
    assert is_wrong(MODEL, tmp_path, "-DREACHED")


@pytest.mark.parametrize("taken_out", ["NO_READY", "NO_GUARD", "NO_LOCK", "ANY_ORDER"])
def test_control_without_a_mechanism_it_is_wrong(taken_out: str, tmp_path: Path) -> None:
    assert is_wrong(MODEL, tmp_path, f"-D{taken_out}")


def test_stream_shards_that_are_divided_have_each_record_once_and_in_order(tmp_path: Path) -> None:
    assert errors_of(RANGES, tmp_path) == 0
    assert is_wrong(RANGES, tmp_path, "-DREACHED")


@pytest.mark.parametrize("taken_out", ["NO_READY", "NO_LOCK"])
def test_control_without_a_mechanism_division_is_wrong(taken_out: str, tmp_path: Path) -> None:
    assert is_wrong(RANGES, tmp_path, f"-D{taken_out}")
