"""Indexers and the queue of writes get on with brokers that answer slowly, or with little."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer, TopicPartition

from mynamo.catalog.cluster import Cluster
from mynamo.gsi_indexer import run_indexer
from mynamo.local import EmbeddedBroker, free_port
from mynamo.log import Patience, Reading, consumption, ensure_topics, open_consumer
from mynamo.operations import lag, wait_until_applied
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.writer.worker import run_writer
from tests.comparing import gsi_damage
from tests.kafka_proxy import KafkaProxy, Slowness
from tests.operations import fill, order
from tests.waiting import eventually
from tests.workers import working

pytestmark = pytest.mark.slow

STARVING = 800
"""Milliseconds: more than any consumer of mynamo's allows a broker that has given it all."""
LARGE = "x" * 390_000


@pytest.fixture
def proxy() -> Iterator[KafkaProxy]:
    with KafkaProxy() as proxy:
        yield proxy


@pytest.fixture
def slow(config: ClusterConfig, proxy: KafkaProxy, tmp_path: Path) -> Iterator[ClusterConfig]:
    """A cluster of the test's own whose broker is reached through the proxy only."""
    port = free_port()
    proxy.lead_to(port)
    with EmbeddedBroker(tmp_path / "broker", port, proxy.port):
        address = f"127.0.0.1:{proxy.port}"
        kafka = config.kafka.model_copy(update={"bootstrap_servers": address})
        yield config.model_copy(update={"kafka": kafka})


@pytest.fixture
def cluster(slow: ClusterConfig) -> Iterator[Cluster]:
    with Cluster(slow) as cluster:
        yield cluster


def no_learning(patch: pytest.MonkeyPatch) -> None:
    """Let consumers allow brokers as much time as they did at first."""
    patch.setattr(Reading, "learn", lambda *_: None)


writing = partial(run_writer, queue=False)
writing.__name__ = "run_writer"  # type: ignore[attr-defined]


# -- brokers that find nothing in the time that they are given -----------------------------


def test_an_indexer_gets_all_from_a_broker_that_collects_slowly(
    slow: ClusterConfig, cluster: Cluster, proxy: KafkaProxy
) -> None:
    proxy.slowness = Slowness(collects_ms=STARVING)
    fill(cluster, [order(number) for number in range(40)])
    with working(slow, run_writer, run_indexer):
        assert wait_until_applied(cluster, 60), str(lag(cluster))
        assert max(proxy.waits) >= STARVING
        assert gsi_damage(cluster, "orders") == []
        assert lag(cluster).indexers == 1
        # When it has all, nobody waits at the broker for what a wake-up announces.
        seen = len(proxy.waits)
        eventually(lambda: min(proxy.waits[seen:], default=STARVING) < 10)


def test_one_that_allows_no_more_time_gets_nothing(
    slow: ClusterConfig, cluster: Cluster, proxy: KafkaProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above, and of the one below."""
    no_learning(monkeypatch)
    proxy.slowness = Slowness(collects_ms=STARVING)
    fill(cluster, [order(number) for number in range(40)])
    with Producer(cluster) as producer:
        producer.publish(producer.queued_put("orders", order(41)))
    with working(slow, run_writer, run_indexer):
        eventually(lambda: len(proxy.waits) > 100)
        report = lag(cluster)
        assert (report.events, report.queued_writes) == (40, 1)


def test_the_queue_gets_all_from_a_broker_that_collects_slowly(
    slow: ClusterConfig, cluster: Cluster, proxy: KafkaProxy
) -> None:
    fill(cluster, ())
    with Producer(cluster) as producer:
        producer.publish(*(producer.queued_put("orders", order(n)) for n in range(250)))
    proxy.slowness = Slowness(collects_ms=STARVING)
    with working(slow, run_writer):
        eventually(lambda: lag(cluster).queued_writes == 0, 60)


@pytest.mark.parametrize("learns", [True, False])
def test_many_small_batches_are_read_by_one_that_allows_for_them(
    slow: ClusterConfig, learns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded broker itself: it reads the names of all batches before it gives one."""
    if not learns:
        no_learning(monkeypatch)
    batches = 5_000
    with_batches(slow, batches)
    place = TopicPartition(slow.kafka.changes_topic, 0)
    consumer = open_consumer(slow.kafka, None, fetch_max_wait_ms=1)
    try:
        consumer.assign([place])
        consumer.seek(place, batches - 500)
        one = Reading(consumer, Patience(), wait_ms=1, full=1000)
        polls = (one.poll(200) for _ in range(300 if learns else 10))
        found = 0
        while found < 500 and (polled := next(polls, None)) is not None:
            found += sum(map(len, polled.values()))
        assert found == (500 if learns else 0)
    finally:
        consumer.close()


def with_batches(config: ClusterConfig, count: int) -> None:
    """Put so many messages, each a batch of its own, into a partition of `changes`."""
    ensure_topics(config.kafka)
    producer = KafkaProducer(
        bootstrap_servers=config.kafka.bootstrap_servers,
        batch_size=0, linger_ms=0, acks=1, enable_idempotence=False,
    )  # fmt: skip
    for _ in range(count):
        producer.send(config.kafka.changes_topic, b"x" * 100, partition=0)
    producer.flush()
    producer.close()


# -- answers that take longer than a request may -------------------------------------------


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests may take a second at first."""
    monkeypatch.setattr(consumption, "REQUEST_MS", 1_000)


@pytest.mark.usefixtures("hurried")
def test_an_indexer_waits_longer_for_answers_that_come_late(
    slow: ClusterConfig, cluster: Cluster, proxy: KafkaProxy
) -> None:
    proxy.slowness = Slowness(pause=1.5)
    fill(cluster, [order(number) for number in range(40)])
    with working(slow, writing, run_indexer):
        assert wait_until_applied(cluster, 90), str(lag(cluster))
    assert gsi_damage(cluster, "orders") == []


@pytest.mark.usefixtures("hurried")
def test_one_that_never_waits_longer_gets_nothing(
    slow: ClusterConfig, cluster: Cluster, proxy: KafkaProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above, and of the one below."""
    starts = count_starts(monkeypatch)
    monkeypatch.setattr(Patience, "more", lambda self: self)
    proxy.slowness = Slowness(pause=1.5)
    fill(cluster, [order(number) for number in range(40)])
    with working(slow, writing, run_indexer):
        eventually(lambda: len(starts) >= 3, 60)
        assert lag(cluster).events == 40


def count_starts(patch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with each consumer that begins to read."""
    starts: list[int] = []
    begin: Callable[..., None] = Reading.__init__

    def counted(*arguments: Any, **options: Any) -> None:
        starts.append(threading.get_ident())
        begin(*arguments, **options)

    patch.setattr(Reading, "__init__", counted)
    return starts


@pytest.mark.usefixtures("hurried")
def test_the_queue_gets_large_writes_through_a_slow_line(
    slow: ClusterConfig, cluster: Cluster, proxy: KafkaProxy
) -> None:
    fill(cluster, ())
    with Producer(cluster) as producer:
        large = [order(n, note=f"{n}{LARGE}") for n in range(16)]
        producer.publish(*(producer.queued_put("orders", item) for item in large))
    proxy.slowness = Slowness(rate=3_000_000)
    with working(slow, run_writer):
        eventually(lambda: lag(cluster).queued_writes == 0, 90)
