"""What counts as indexes that stand still, and how `mynamo lag` says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from itertools import count, repeat
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner

from mynamo.catalog.gsi_rows import Stream
from mynamo.catalog.shard import DynamoDBShard
from mynamo.cli import checks
from mynamo.cli.statuses import WRONG
from mynamo.operations import standstill
from mynamo.operations.lag import LagReport
from mynamo.operations.standstill import Waiting

SHARDS = [cast(DynamoDBShard, SimpleNamespace(id=number)) for number in (1, 2)]


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standstill, "UNMOVED", 0.05)
    monkeypatch.setattr(standstill, "PAUSE", 0.01)


def looks(patch: pytest.MonkeyPatch, progress: dict[int, Iterator[int]]) -> None:
    """Let events of these shards be overdue, at this progress from look to look."""

    def overdue(shard: Any) -> set[Waiting]:
        return (
            {Waiting(Stream(shard.id, 0), next(progress[shard.id]))}
            if shard.id in progress
            else set()
        )

    patch.setattr(standstill, "overdue", overdue)


def test_a_stream_without_progress_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    looks(monkeypatch, {1: repeat(7)})
    assert standstill.standing(SHARDS) == {Waiting(Stream(1, 0), 7)}


def test_one_that_is_behind_and_moves_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    looks(monkeypatch, {1: count(), 2: repeat(7)})
    assert standstill.standing(SHARDS) == {Waiting(Stream(2, 0), 7)}


def test_where_nothing_is_overdue_one_look_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standstill, "UNMOVED", 3_600.0)
    looks(monkeypatch, {})
    assert standstill.standing(SHARDS) == set()


def test_mynamo_lag_has_a_status_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "opened", lambda: nullcontext())

    def shown(standing: tuple[int, ...], *options: str) -> tuple[int, str]:
        report = LagReport((), (), 0, indexers=1, standing=standing)
        monkeypatch.setattr(checks, "lag_of", lambda _: report)
        result = CliRunner().invoke(checks.lag, options)
        return result.exit_code, result.output

    assert shown(())[0] == 0
    status, text = shown((2,))
    assert status == WRONG
    assert "indexes stand still: events from shard 2" in text
    status, text = shown((2,), "--json")
    assert status == WRONG
    assert '"standstill": true' in text
