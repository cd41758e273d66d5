"""A write is on its way to the indexes at once: nobody waits for anybody's next look. Without
wake-ups it is found by looking."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.gsi_indexer import indexer
from mynamo.producer import Producer
from mynamo.runtime import local_wakeups
from mynamo.runtime.local_wakeups import LocalWakeUps
from mynamo.schemas.config import ClusterConfig
from tests.rows import make_table
from tests.waiting import eventually
from tests.workers import pipeline


@pytest.fixture
def sleeping(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the wake-ups that somebody sleeps for; nobody wakes by itself."""
    asleep: set[str] = set()
    sleep = LocalWakeUps.sleep

    def noted(wake_ups: LocalWakeUps, seconds: float) -> bool:
        name = wake_ups.path.name.rpartition("-")[0]
        asleep.add(name)
        try:
            return sleep(wake_ups, seconds)
        finally:
            asleep.remove(name)

    monkeypatch.setattr(LocalWakeUps, "sleep", noted)
    monkeypatch.setattr(local_wakeups, "SELDOM", 3600.0)
    monkeypatch.setattr(local_wakeups, "SOON", 3600.0)
    monkeypatch.setattr(indexer, "QUICK_POLL_MS", 300)
    return asleep


def test_wake_ups_reach_the_relay_and_the_indexer(
    config: ClusterConfig, sleeping: set[str]
) -> None:
    with Cluster(config) as cluster:
        make_table(cluster)
        producer = Producer(cluster)
        with pipeline(config):
            for number in range(3):
                eventually(lambda: len(sleeping) == len(cluster.shards) + 1, 60)
                producer.put("orders", {"id": str(number), "at": "1", "name": "n", "price": 1})
                eventually(lambda: all_applied(cluster), 60)


@pytest.fixture
def without(config: ClusterConfig) -> ClusterConfig:
    """The cluster's configuration, without wake-ups."""
    return config.model_copy(update={"local_wakeups": False})


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of temporary files; with a short path, as sockets need one."""
    with tempfile.TemporaryDirectory(prefix="bells-") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        yield Path(short)


@pytest.mark.parametrize("wakeups", [True, False])
def test_the_pipeline_works_with_and_without_wake_ups(
    config: ClusterConfig, folder: Path, wakeups: bool
) -> None:
    config = config.model_copy(update={"local_wakeups": wakeups})

    def listening() -> set[str]:
        return {path.name.rpartition("-")[0] for path in folder.glob("mynamo-*/*")}

    with Cluster(config) as cluster:
        make_table(cluster)
        producer = Producer(cluster)
        everybody = {"indexer", *(f"relay-{shard}" for shard in cluster.shards)}
        with pipeline(config):
            for number in range(3):
                producer.put("orders", {"id": str(number), "at": "1", "name": "n", "price": 1})
                eventually(lambda: all_applied(cluster), 60)
            eventually(lambda: listening() == (everybody if wakeups else set()))


def test_negative_control_without_wake_ups_nobody_is_woken(
    without: ClusterConfig, sleeping: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_wakeups, "OFTEN", 3600.0)
    with Cluster(without) as cluster:
        make_table(cluster)
        with pipeline(without):
            relays = {f"relay-{shard}" for shard in cluster.shards}
            eventually(lambda: sleeping == relays, 60)
            item = {"id": "1", "at": "1", "name": "n", "price": 1}
            Producer(cluster).put("orders", item)
            assert sleeping == relays
            assert not all_applied(cluster)


def all_applied(cluster: Cluster) -> bool:
    """Whether every index has every change."""
    waiting = (
        "SELECT (SELECT COUNT(*) FROM mynamo_outbox WHERE seq IS NULL)"
        " + (SELECT COUNT(*) FROM mynamo_stream WHERE applied_seq < last_seq)"
    )
    return all(shard.run((waiting, ()))[0].rows[0][0] == 0 for shard in cluster.shards.values())
