"""What a scrape says of Kafka: whether it answers, dead letters, queued writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry

from mynamo.catalog.cluster import Cluster
from mynamo.cli.metrics_option import metrics_of
from mynamo.log import Publisher
from mynamo.log.dead_letter_topic import (
    DeadLetterList,
    resolve_dead_letter,
    send_dead_letters,
)
from mynamo.metrics import kafka_metrics, names
from mynamo.metrics.kafka_metrics import KafkaMetrics
from mynamo.metrics.work_metrics import WorkMetrics
from mynamo.producer import Producer
from mynamo.runtime.counters import counters
from mynamo.schemas.config import ClusterConfig, KafkaConfig
from mynamo.schemas.dead_letters import DeadLetter
from tests.integration.test_queue import consume
from tests.rows import make_table
from tests.scraping import values
from tests.waiting import eventually

UP, DEAD, QUEUED = "mynamo_kafka_up", "mynamo_dead_letters", "mynamo_queued_writes"


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_metrics, "FRESH_SECONDS", -1.0)


@pytest.fixture
def scrape() -> Iterator[Callable[[KafkaConfig, str], dict[str, float]]]:
    """Scrape a process: what it says without labels."""
    known: dict[str, KafkaMetrics] = {}

    def now(config: KafkaConfig, role: str) -> dict[str, float]:
        one = known.setdefault(role, KafkaMetrics(config, role))
        return {s.name: s.value for family in one.collect() for s in family.samples}

    yield now
    for one in known.values():
        one.close()


Scrape = Callable[[KafkaConfig, str], dict[str, float]]


def letter(number: int) -> DeadLetter:
    return DeadLetter(
        letter_id=f"l{number}", kind="event", reason="no", topic="t", partition=0, offset=number,
        value="",
    )  # fmt: skip


def test_dead_letters_and_queued_writes(
    config: ClusterConfig,
    cluster: Cluster,
    producer: Producer,
    publisher: Publisher,
    scrape: Scrape,
) -> None:
    publisher.reach()  # which makes the topics
    kafka = config.kafka
    assert scrape(kafka, "indexer") == {UP: 1}
    assert scrape(kafka, "writer") == {UP: 1, DEAD: 0, QUEUED: 0}
    counters.renew_after_fork()
    registry = CollectorRegistry()
    registry.register(WorkMetrics(cluster, "writer"))
    send_dead_letters(publisher, [letter(1), letter(2), letter(3)])
    assert values(registry, "mynamo_dead_letters_written_total") == {(): 3}
    assert scrape(kafka, "writer")[DEAD] == 3
    resolve_dead_letter(publisher, letter(1), "replayed")
    resolve_dead_letter(publisher, letter(2), "discarded")
    assert scrape(kafka, "writer")[DEAD] == 1  # though the topic has five messages
    send_dead_letters(publisher, [letter(1).model_copy(update={"offset": 7})])  # failed again
    assert scrape(kafka, "writer")[DEAD] == 2
    make_table(cluster)
    keys = [{"id": "a", "at": str(number)} for number in range(4)]
    producer.publish(*(producer.queued_put("orders", key) for key in keys))
    assert scrape(kafka, "writer")[QUEUED] == len(keys)
    consume(cluster, publisher, len(keys))
    assert scrape(kafka, "writer")[QUEUED] == 0
    assert values(registry, "mynamo_queued_writes_done_total") == {(): len(keys)}


@pytest.mark.parametrize("role", ["writer", "indexer"])
def test_workers_have_all_that_they_are_said_to_have(
    cluster: Cluster, publisher: Publisher, role: str
) -> None:
    publisher.reach()
    with metrics_of(cluster, role, 0) as registry:
        assert registry is not None
        found = {family.name for family in registry.collect()}
    wanted = {one.name.removesuffix("_total") for one in names.ALL if one.is_of(role)}
    depend_on_tables = {
        one.name for one in names.ALL if "table" in one.labels and not one.counted
    } | {names.MOVED_ROWS.name}
    assert wanted - depend_on_tables <= found
    assert not found & {one.name.removesuffix("_total") for one in names.ALL} - wanted


def test_dead_letters_that_take_long_do_not_say_that_kafka_is_down(
    config: ClusterConfig, publisher: Publisher, scrape: Scrape, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.reach()
    assert scrape(config.kafka, "writer")[DEAD] == 0
    go = threading.Event()
    monkeypatch.setattr(DeadLetterList, "count_open", lambda *_: go.wait(20) and 5)
    monkeypatch.setattr(kafka_metrics, "PATIENCE_SECONDS", 1.0)
    assert scrape(config.kafka, "writer") == {UP: 1}
    go.set()
    eventually(lambda: scrape(config.kafka, "writer") == {UP: 1, DEAD: 5, QUEUED: 0})


def test_a_broker_that_is_not_there(monkeypatch: pytest.MonkeyPatch, scrape: Scrape) -> None:
    monkeypatch.setattr(kafka_metrics, "PATIENCE_SECONDS", 0.1)
    nowhere = KafkaConfig(bootstrap_servers="127.0.0.1:1")
    for _ in range(2):
        assert scrape(nowhere, "writer") == {UP: 0}
