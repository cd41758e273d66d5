"""A cluster grows by a shard, and shrinks by one, by the commands that do it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Table
from mynamo.errors import InvalidRequest
from mynamo.local.state import config_toml
from mynamo.operations import (
    MoveProgress,
    add_shard,
    cancel_move,
    drain,
    list_shards,
    move_slots,
    planned_moves,
    rebalance,
    remove_shard,
    resume_moves,
    verify,
    wait_until_applied,
)
from mynamo.operations.resharding import mover
from mynamo.producer import Producer
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig
from tests.commands import run
from tests.comparing import gsi_damage
from tests.servers import with_third_shard
from tests.workers import pipeline

pytestmark = pytest.mark.slow

COUNT = 200


@pytest.fixture(autouse=True)
def quick_cleaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover, "CLEAN_AFTER", 0.1)


@pytest.fixture
def wide_config(config: ClusterConfig, cluster: Cluster, orders: Table) -> Iterator[ClusterConfig]:
    """With a third shard; the cluster is set up without it."""
    with with_third_shard(config) as wide:
        yield wide


@pytest.fixture
def file(wide_config: ClusterConfig, tmp_path: Path) -> Path:
    path = tmp_path / "wide.toml"
    path.write_text(config_toml(wide_config))
    return path


def item(number: int) -> dict[str, Any]:
    return {"id": f"i{number}", "at": "1", "price": number, "name": f"n{number % 30}"}


def slots(file: Path) -> dict[int, int]:
    """How many slots each shard has."""
    listed = orjson.loads(run(file, "shard", "list", "--json").stdout)
    return {each["shard"]: each["slots"] for each in listed}


def test_a_shard_is_added_and_another_one_removed(wide_config: ClusterConfig, file: Path) -> None:
    stop = threading.Event()

    def write() -> int:
        """Add to one item after another; no call fails."""
        rounds = 0
        with Cluster(wide_config) as own, Producer(own) as producer:
            while not stop.is_set():
                for number in range(COUNT, COUNT + 20):
                    key = {"id": f"i{number}", "at": "1"}
                    producer.update("orders", key, expression="ADD n :one", values={":one": 1})
                    stop.wait(0.01)
                rounds += 1
        return rounds

    with Cluster(wide_config) as cluster, Producer(cluster) as producer, pipeline(wide_config):
        for number in range(COUNT):
            producer.put("orders", item(number))
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            try:
                added = run(file, "shard", "add", "3", "--yes")
                assert "it is ACTIVE" in added.stdout
                assert slots(file) == {1: 2048, 2: 2048, 3: 0}
                planned = run(file, "shard", "rebalance", "--plan").stdout
                assert planned.splitlines() == [
                    "1 -> 3: 682 slots in 3 moves", "2 -> 3: 683 slots in 3 moves",
                ]  # fmt: skip
                assert slots(file)[3] == 0
                done = run(file, "shard", "rebalance", "--parallel", "2")
                assert done.stdout.startswith("6 moves; writes paused for p50 ")
                assert sorted(slots(file).values()) == [1365, 1365, 1366]
                assert verify(cluster, "orders").ok
                run(file, "shard", "drain", "1")
                assert slots(file)[1] == 0
                run(file, "shard", "remove", "1")
            finally:
                stop.set()
            rounds = writing.result()
        assert wait_until_applied(cluster)
        read = Reader(cluster)
        for number in range(COUNT):
            assert read.get("orders", {"id": f"i{number}", "at": "1"}) == item(number)
        for number in range(COUNT, COUNT + 20):
            found = read.get("orders", {"id": f"i{number}", "at": "1"})
            assert found is not None
            assert found["n"] == rounds
        assert gsi_damage(cluster, "orders") == []
        assert verify(cluster, "orders").ok
    alone = wide_config.model_copy(update={"shards": wide_config.shards[1:]})
    with Cluster(alone) as cluster:
        assert len(Reader(cluster).scan("orders").items) == COUNT + 20


def test_the_same_by_calls_of_the_library(wide_config: ClusterConfig) -> None:
    with Cluster(wide_config) as cluster, Producer(cluster) as producer, pipeline(wide_config):
        for number in range(COUNT):
            producer.put("orders", item(number))
        add_shard(cluster, 3)
        planned = planned_moves(cluster)
        told: list[MoveProgress] = []
        moved = rebalance(cluster, parallel=2, on_progress=told.append)
        assert len(moved) == len(planned) > 0
        assert any(each.doing == "moved" for each in told)
        drain(cluster, 1)
        remove_shard(cluster, 1)
        assert {each.shard: each.slots for each in list_shards(cluster)} == {1: 0, 2: 2048, 3: 2048}
        owned = next(each for each in cluster.refresh().slots if each.shard_id == 2)
        move_slots(cluster, owned.first, owned.first + 7, 3)
        assert {each.shard: each.slots for each in list_shards(cluster)} == {1: 0, 2: 2040, 3: 2056}
        assert resume_moves(cluster) == []
        with pytest.raises(InvalidRequest, match="no move of slots"):
            cancel_move(cluster, 0, 7)
        assert wait_until_applied(cluster)
        assert verify(cluster, "orders").ok
