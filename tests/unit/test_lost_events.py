"""How often, and for how long, an indexer waits for a broker that says where partitions end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mynamo.catalog.away_shards import AwayShards
from mynamo.gsi_indexer import lost_events
from mynamo.gsi_indexer.lost_events import Watch
from mynamo.log.kafka_types import KafkaTimeoutError, TopicPartition
from mynamo.schemas.config import KafkaConfig

PLACE = TopicPartition("changes", 0)


class SlowBroker:
    """Takes so many milliseconds to answer.

    Attributes:
        asked: for how long it was asked each time.
    """

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.asked: list[int] = []
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def end_offsets(self, partitions: list[TopicPartition], timeout_ms: int) -> dict[Any, int]:
        self.asked.append(timeout_ms)
        self.now += min(self.takes, timeout_ms) / 1000
        if self.takes > timeout_ms:
            raise KafkaTimeoutError
        return dict.fromkeys(partitions, 7)


def watch_of(broker: SlowBroker, monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr(lost_events, "time", broker)
    cluster: Any = SimpleNamespace(config=SimpleNamespace(kafka=KafkaConfig()))
    away: AwayShards = SimpleNamespace(ids=set())  # type: ignore[assignment]
    nothing: Any = None
    return Watch(cluster, broker, nothing, nothing, away)


def test_a_slow_broker_is_asked_longer_each_time_and_takes_a_sixth_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = SlowBroker(takes=1_500)
    watch = watch_of(broker, monkeypatch)
    began, waited = broker.now, 0.0
    found: dict[Any, int] = {}
    while not found:
        before = broker.now
        found = watch._ends([PLACE])
        waited += broker.now - before
        broker.now += 0.01
    assert found == {PLACE: 7}
    assert broker.asked == [250, 500, 1_000, 2_000]
    asked_first = sum(broker.asked[:-1]) / 1000
    assert broker.now - began >= asked_first * (1 + lost_events._PAUSE)
    assert waited == pytest.approx(asked_first + 1.5)


def test_a_quick_broker_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = SlowBroker(takes=2)
    watch = watch_of(broker, monkeypatch)
    for _ in range(3):
        assert watch._ends([PLACE]) == {PLACE: 7}
        broker.now += lost_events.LOOK_EVERY_AT_GAPS
    assert broker.asked == [250] * 3
