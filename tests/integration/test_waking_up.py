"""A write is on its way to the indexes at once: nobody waits for anybody's next look."""

from __future__ import annotations

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.gsi_indexer import indexer
from mynamo.producer import Producer
from mynamo.runtime import wakeups
from mynamo.runtime.wakeups import WakeUps
from mynamo.schemas.config import ClusterConfig
from tests.rows import make_table
from tests.waiting import eventually
from tests.workers import pipeline


@pytest.fixture
def sleeping(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the wake-ups that somebody sleeps for; nobody wakes by itself."""
    asleep: set[str] = set()
    sleep = WakeUps.sleep

    def noted(wake_ups: WakeUps, seconds: float) -> bool:
        name = wake_ups.path.name.rpartition("-")[0]
        asleep.add(name)
        try:
            return sleep(wake_ups, seconds)
        finally:
            asleep.remove(name)

    monkeypatch.setattr(WakeUps, "sleep", noted)
    monkeypatch.setattr(wakeups, "SELDOM", 3600.0)
    monkeypatch.setattr(wakeups, "SOON", 3600.0)
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


def all_applied(cluster: Cluster) -> bool:
    """Whether every index has every change."""
    waiting = (
        "SELECT (SELECT COUNT(*) FROM mynamo_outbox WHERE seq IS NULL)"
        " + (SELECT COUNT(*) FROM mynamo_stream WHERE applied_seq < last_seq)"
    )
    return all(shard.run((waiting, ()))[0].rows[0][0] == 0 for shard in cluster.shards.values())
