"""What benchmarks say rests on arithmetic of their own."""

from __future__ import annotations

import importlib
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the benchmarks."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def lags_of(part: float, seconds: float, rate: float) -> list[float]:
    """Of evenly spread changes, if an index applies a part of them as they come, after 30 ms."""
    moments = [number / rate for number in range(int(seconds * rate))]
    return [0.03 + moment * (1 - part) / part for moment in moments]


@pytest.mark.parametrize("part", [1.0, 0.9, 0.5, 0.1])
def test_the_part_that_an_index_applies_is_seen_from_how_its_lag_grows(
    load: Any, part: float
) -> None:
    found = load("index_probe").part_applied(lags_of(part, 10, 50), 10)
    assert found == pytest.approx(part, rel=0.01)


def test_an_index_that_catches_up_applies_all_and_none_seen_is_nothing_applied(load: Any) -> None:
    part_applied = load("index_probe").part_applied
    assert part_applied([0.5, 0.4, 0.3, 0.2, 0.1], 10) == 1
    assert part_applied([0.1, 0.1], 10) == 0


def test_percentiles_are_values_that_were_measured(load: Any) -> None:
    percentile = load("growth_work").percentile
    ordered = [float(value) for value in range(1, 101)]
    assert [percentile(ordered, share) for share in (0, 0.5, 0.99, 1)] == [1, 51, 100, 100]
    assert math.isnan(percentile([], 0.5))


@pytest.mark.parametrize("size", [100, 1000, 20_000])
def test_queries_of_a_loaded_table_find_ten_items_by_key_and_by_gsi(load: Any, size: int) -> None:
    shape = load("growth_work").Shape("items", size)
    for group_of in (shape.customer, shape.product):
        assert set(Counter(map(group_of, range(size))).values()) == {10}
        filled = set(map(group_of, range(size)))
        assert not filled & set(map(group_of, range(size, 2 * size))), "new items change no group"


def test_a_collection_keeps_all_its_items_together(load: Any) -> None:
    work = load("growth_work")
    shape = work.Shape("items", 1000, group=work.ALL_TOGETHER)
    for group_of in (shape.customer, shape.product):
        assert len(set(map(group_of, range(5000)))) == 1


@pytest.mark.parametrize("size", [100, 400_000])
def test_items_have_the_size_that_is_asked_for(load: Any, size: int) -> None:
    from mynamo.schemas.items import item_size, to_stored

    growth, work = load("growth"), load("growth_work")
    shape = work.Shape("items", 1000, note=size - growth.OVERHEAD)
    assert item_size(to_stored(shape.item(999))) == pytest.approx(size, abs=5)
