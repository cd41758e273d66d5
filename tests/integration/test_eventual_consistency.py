"""Every write reaches every index: real servers, real Kafka, everything dies now and then."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import NewTopic

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.errors import Unavailable
from mynamo.gsi_indexer import run_indexer
from mynamo.local import LocalCluster
from mynamo.local.state import config_toml
from mynamo.log import Publisher, clients, ensure_topics, open_admin, open_consumer
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.dead_letters import load_dead_letter
from mynamo.schemas.table import TableSchema
from mynamo.writer.worker import run_writer
from tests.comparing import gsi_damage
from tests.fake_log import waiting_events
from tests.waiting import eventually
from tests.workers import pipeline, working

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

ORDERS = {
    "name": "orders",
    "hash_key": "customer",
    "sort_key": "number:N",
    "global_indexes": [
        {"name": "by_state", "hash_key": "state", "sort_key": "price:N"},
        {"name": "by_courier", "hash_key": "courier", "projection": {"type": "KEYS_ONLY"}},
    ],
}
KEYS = [{"customer": customer, "number": n} for customer in "abcdef" for n in range(5)]
START = (
    "import threading; from mynamo.schemas.config import *; from mynamo.catalog.cluster import *;"
)
START += "from mynamo.gsi_indexer import *;"


@pytest.fixture(autouse=True)
def collect_sockets() -> Iterator[None]:
    """kafka-python leaves sockets open whose connection was refused: they are found here,
    where the warning is ignored, and not in another test."""
    yield
    gc.collect()


@pytest.fixture
def cluster(config: ClusterConfig) -> Iterator[Cluster]:
    """A cluster with the table `orders`."""
    with Cluster(config) as cluster:
        definitions.create_table(cluster, TableSchema.parse(ORDERS))
        yield cluster


def write_some(producer: Producer, choice: random.Random, count: int) -> None:
    """Put, change and delete orders at random; few keys, so that they meet often."""
    for _ in range(count):
        key = choice.choice(KEYS)
        move = choice.random()
        if move < 0.2:
            producer.delete("orders", key)
        elif move < 0.4:
            producer.update("orders", key, set={"state": choice.choice(["new", "sent", "paid"])})
        else:
            order = {"state": choice.choice("xyz"), "price": choice.randint(1, 3)}
            some = {name: value for name, value in order.items() if choice.random() < 0.8}
            producer.put("orders", {**key, **some, "courier": choice.choice("pqrs")})


@contextmanager
def load(cluster: Cluster, threads: int = 3) -> Iterator[Callable[[int], None]]:
    """Write from several threads until the block ends.

    Yields:
        Waits until so many more writes were done.
    """
    stop = threading.Event()
    done = [0] * threads
    failures: list[BaseException] = []

    def run(number: int) -> None:
        producer, choice = Producer(cluster), random.Random(number)
        while not stop.is_set():
            try:
                write_some(producer, choice, 5)
                done[number] += 5
            except Unavailable:  # a server is being restarted
                stop.wait(0.05)
            except BaseException as failure:
                failures.append(failure)
                return

    def wait(more: int) -> None:
        target = sum(done) + more
        eventually(lambda: failures or sum(done) >= target, 60)
        assert not failures

    running = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield wait
    finally:
        stop.set()
        for thread in running:
            thread.join(60)
    assert not failures


def await_equality(cluster: Cluster, table: str = "orders", seconds: float = 60) -> None:
    """Wait until nothing is under way; then the indexes must be equal to the table."""
    eventually(lambda: waiting_events(cluster) == 0, seconds, "all events to be applied")
    assert gsi_damage(cluster, table) == []


def test_indexes_equal_their_table_while_indexers_come_and_go(cluster: Cluster) -> None:
    with pipeline(cluster.config, indexers=2):
        with load(cluster) as wait:
            wait(100)
            with working(cluster.config, run_indexer):  # a third one: rebalance
                wait(200)
            wait(100)  # and it has left
        await_equality(cluster)


def test_publishing_again_under_load_changes_nothing(cluster: Cluster) -> None:
    with pipeline(cluster.config, indexers=2):
        with load(cluster) as wait:
            for _ in range(4):
                wait(60)
                for shard in cluster.shards.values():
                    shard.run(("UPDATE mynamo_relay SET published_seq = published_seq / 2", ()))
        await_equality(cluster)


@contextmanager
def indexer_process(config: ClusterConfig, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An indexer in a process of its own, which the test may stop and kill."""
    path = folder / "mynamo.toml"
    path.write_text(config_toml(config))
    path.chmod(0o600)
    work = "run_indexer(Cluster(ClusterConfig.load()), threading.Event())"
    process = subprocess.Popen(
        [sys.executable, "-c", START + work], env={**os.environ, "MYNAMO_CONFIG": str(path)}
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def any_applied(cluster: Cluster) -> bool:
    """Whether an indexer has applied anything."""
    return any(
        shard.run(("SELECT 1 FROM mynamo_stream WHERE applied_seq > 0 LIMIT 1", ()))[0].rows
        for shard in cluster.shards.values()
    )


def test_an_indexer_killed_in_the_middle_leaves_no_trace(cluster: Cluster, tmp_path: Path) -> None:
    with working(cluster.config, run_writer), load(cluster) as wait:
        for _ in range(2):
            with indexer_process(cluster.config, tmp_path):
                wait(40)
                eventually(lambda: any_applied(cluster))
    with pipeline(cluster.config):
        await_equality(cluster)


def test_an_indexer_that_sleeps_and_wakes_late_does_no_harm(
    cluster: Cluster, tmp_path: Path
) -> None:
    fast = cluster.config.kafka.model_copy(update={"session_timeout_ms": 6_000})
    config = cluster.config.model_copy(update={"kafka": fast})
    with working(config, run_writer):
        with indexer_process(config, tmp_path) as zombie:
            with load(cluster, threads=2) as wait:
                eventually(lambda: any_applied(cluster))
                wait(30)
                os.kill(zombie.pid, signal.SIGSTOP)
                wait(30)
            with working(config, run_indexer):  # takes over when the zombie's session is over
                await_equality(cluster)
                write_some(Producer(cluster), random.Random(7), 40)
                await_equality(cluster)
                os.kill(zombie.pid, signal.SIGCONT)
                write_some(Producer(cluster), random.Random(8), 40)
                await_equality(cluster)
        assert zombie.returncode == -signal.SIGKILL  # it was alive to the end


def test_a_topic_deleted_and_made_again_loses_nothing(
    cluster: Cluster, kafka_admin: KafkaAdminClient
) -> None:
    topic = cluster.config.kafka.changes_topic
    with pipeline(cluster.config):
        with load(cluster, threads=2) as wait:
            wait(60)
            kafka_admin.delete_topics([topic])
            eventually(lambda: topic not in kafka_admin.list_topics())
            wait(60)  # the workers make it again
        await_equality(cluster, seconds=90)
    assert topic in kafka_admin.list_topics()


def test_a_damaged_message_goes_to_the_dead_letters(cluster: Cluster) -> None:
    kafka = cluster.config.kafka
    ensure_topics(kafka)
    publisher = Publisher(kafka)
    publisher.send([(kafka.changes_topic, 1, None, b"not an event", [])])
    publisher.close()
    with pipeline(cluster.config):
        write_some(Producer(cluster), random.Random(3), 40)
        await_equality(cluster)
        consumer = open_consumer(kafka, None)
        consumer.assign([TopicPartition(kafka.dead_letter_topic, 0)])
        polled = eventually(lambda: consumer.poll(timeout_ms=500))
        consumer.close()
    ((record,),) = polled.values()
    dead_letter = load_dead_letter(record.value)
    assert (dead_letter.kind, dead_letter.partition, dead_letter.message) == (
        "event",
        1,
        b"not an event",
    )


@pytest.fixture
def private(private_cluster: Callable[..., LocalCluster]) -> Iterator[tuple[LocalCluster, Cluster]]:
    """Servers that the test may stop, and their cluster with the table `orders`."""
    servers = private_cluster(buffer_pool="64M", partitions=4)
    with Cluster(servers.config) as cluster:
        definitions.create_table(cluster, TableSchema.parse(ORDERS))
        yield servers, cluster


def test_a_broker_that_forgets_everything_costs_time_only(
    private: tuple[LocalCluster, Cluster],
) -> None:
    servers, cluster = private
    with pipeline(cluster.config, indexers=1):
        with load(cluster, threads=2) as wait:
            eventually(lambda: any_applied(cluster))
            for _ in range(2):
                wait(60)
                servers.kill_broker()
                wait(20)
                servers.start_broker()
        await_equality(cluster, seconds=90)
        admin = open_admin(cluster.config.kafka)
        assert cluster.config.kafka.changes_topic in admin.list_topics()
        admin.close()


def test_shards_restarted_under_load_lose_nothing(private: tuple[LocalCluster, Cluster]) -> None:
    servers, cluster = private
    with pipeline(cluster.config, indexers=1):
        with load(cluster, threads=2) as wait:
            eventually(lambda: any_applied(cluster))
            wait(60)
            servers.kill_shard(2)
            wait(0)
            servers.start_shard(2)
            wait(60)
            servers.restart_shard(2)
            wait(30)
        await_equality(cluster, seconds=90)


@pytest.mark.parametrize("mended", [True, False])
def test_a_consumer_with_short_polls_joins_its_group(
    config: ClusterConfig,
    kafka_admin: KafkaAdminClient,
    mended: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When a topic comes to be while the consumer waits for it. kafka-python alone fails;
    should that change, the mending can go."""
    if not mended:
        monkeypatch.setattr(clients, "finish_joining", lambda consumer: None)
    topic = f"{config.kafka.changes_topic}.{uuid.uuid4().hex}"
    consumer = open_consumer(config.kafka, topic)

    def has_partitions(seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not consumer.assignment() and time.monotonic() < deadline:
            consumer.poll(timeout_ms=1)
        return bool(consumer.assignment())

    try:
        consumer.subscribe([topic])
        assert not has_partitions(1)
        kafka_admin.create_topics([NewTopic(topic, 2, 1)])
        assert has_partitions(30 if mended else 2) is mended
    finally:
        consumer.close()
        kafka_admin.delete_topics([topic])


def test_the_indexer_waits_for_servers_and_ends_when_told(
    config: ClusterConfig, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = config.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    with Cluster(config.model_copy(update={"kafka": nowhere})) as cluster:
        stop = threading.Event()
        thread = threading.Thread(target=run_indexer, args=(cluster, stop))
        thread.start()
        eventually(lambda: "the indexer waits" in caplog.text, 40)
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def make_damage(cluster: Cluster) -> dict[str, Any]:
    """Take one row away, change one and add a ghost, by hand."""
    index = cluster.table("orders").index("by_state")
    name = f"t{index.table_id}_g{index.id}"
    done = {"missing": 0, "stale": 0, "ghost": 0}
    for shard in cluster.shards.values():
        keys = shard.run(
            (f"SELECT index_hash, index_sort, hash, sort FROM {name} LIMIT 3", ())
        )[0].rows  # fmt: skip
        for kind, key in zip(done, keys, strict=False):
            where = "index_hash = %s AND index_sort = %s AND hash = %s AND sort = %s"
            shard.run(
                {
                    "missing": (f"DELETE FROM {name} WHERE {where}", key),
                    "stale": (f"UPDATE {name} SET version = version - 1 WHERE {where}", key),
                    "ghost": (
                        f"INSERT INTO {name} VALUES (%s, %s, %s, %s, 1, '{{}}')",
                        (*key[:3], key[3] + b"\0"),
                    ),
                }[kind]
            )
            done[kind] += 1
    return done


def test_the_comparison_finds_damage(cluster: Cluster) -> None:
    """The negative control of every test above: the comparison is not blind."""
    with pipeline(cluster.config):
        write_some(Producer(cluster), random.Random(1), 60)
        await_equality(cluster)
    done = make_damage(cluster)
    damage = gsi_damage(cluster, "orders")
    assert {kind: sum(kind in line for line in damage) for kind in done} == done
    assert all(done.values())
