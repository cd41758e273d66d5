"""What mynamo uses of kafka-python's private parts is there, and does what it is used for.

One test for each function of `mynamo.log.kafka_internals`, against a real broker. Where a part
that moved would show nowhere, the test looks at what it brings about.
"""

from __future__ import annotations

import atexit
import os
import socket
import stat
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.errors import IllegalStateError

from mynamo.local import Broker, EmbeddedBroker, free_port
from mynamo.log import (
    ensure_topics,
    identity,
    is_joining,
    kafka_internals,
    open_admin,
    open_consumer,
    open_producer,
    send_all,
    subscribe,
)
from mynamo.log.clients import group_members
from mynamo.log.record_format import Record
from mynamo.schemas.config import KafkaConfig
from tests.kafka_proxy import KafkaProxy
from tests.waiting import eventually

JOIN_MS = 1_000
"""For one poll: joining a group takes polls of some length."""


@pytest.fixture
def broker(broker_of: Callable[[str], Broker]) -> Broker:
    return broker_of("embedded")


@pytest.fixture
def kafka(broker: Broker) -> KafkaConfig:
    """Topics of the test's own, with one partition each."""
    own = uuid.uuid4().hex[:8]
    config = KafkaConfig(
        bootstrap_servers=broker.bootstrap_servers, changes_topic=f"changes.{own}",
        writes_topic=f"writes.{own}", dead_letter_topic=f"letters.{own}", indexer_group=own,
        partitions=1,
    )  # fmt: skip
    ensure_topics(config)
    group_members(config, config.indexer_group)  # at the first question it makes a topic of groups
    return config


@contextmanager
def consuming(config: KafkaConfig, group: str | None = None, **options: Any) -> Iterator[Any]:
    """A consumer: of a group that it has joined, else of the one partition of `changes`."""
    consumer = open_consumer(config, group, **options)
    try:
        if group is None:
            consumer.assign([place(config)])
        else:
            subscribe(consumer, config, config.changes_topic)
            eventually(lambda: consumer.poll(JOIN_MS) or consumer.assignment())
        yield consumer
    finally:
        consumer.close()


def place(config: KafkaConfig) -> TopicPartition:
    return TopicPartition(config.changes_topic, 0)


def send(config: KafkaConfig, producer: Any, count: int = 1) -> None:
    send_all(producer, config, [(config.changes_topic, 0, None, b"x", [])] * count)


def sockets_to(port: int) -> int:
    """How many connections to a port this process has open."""
    count = 0
    for number in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as copy:
                    count += copy.getpeername()[1:2] == (port,)  # a Unix socket's is a text
    return count


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_lets_go_of_its_parents_producer(
    kafka: KafkaConfig, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_end: set[Any] = set()
    register, unregister = atexit.register, atexit.unregister

    def registered(call: Any) -> None:
        at_end.add(call)
        register(call)

    def unregistered(call: Any) -> None:
        at_end.discard(call)
        unregister(call)

    monkeypatch.setattr(atexit, "register", registered)
    monkeypatch.setattr(atexit, "unregister", unregistered)
    producer = open_producer(kafka)
    send(kafka, producer)
    assert at_end
    assert sockets_to(broker.port) > 0

    def let_go() -> bool:
        if at_end or sockets_to(broker.port):
            return False
        with pytest.raises(IllegalStateError):
            producer.send(kafka.changes_topic, b"x", partition=0)
        producer.close()
        return True

    try:
        assert in_child(let_go)
        send(kafka, producer)
        with consuming(kafka) as consumer:
            assert consumer.end_offsets([place(kafka)]) == {place(kafka): 2}
    finally:
        producer.close()


def in_child(check: Callable[[], bool]) -> bool:
    """Whether something holds in a child, which must not hang."""
    process = os.fork()
    if process == 0:
        found: list[bool] = []
        thread = threading.Thread(target=lambda: found.append(check()), daemon=True)
        thread.start()
        thread.join(20)
        os._exit(0 if found == [True] else 1)
    _, status = os.waitpid(process, 0)
    return status == 0


def test_batches_are_given_as_a_whole(kafka: KafkaConfig) -> None:
    """To a producer that numbers its batches, and whose sender knows nothing of the topic yet."""
    values = [b"%d" % number * (number % 90) for number in range(9_000)]
    producer = open_producer(kafka)
    try:
        for some in (values[:8_000], values[8_000:8_500], values[8_500:]):
            headers = [("number", b"7"), ("\u00e9", b"")]
            batches = kafka_internals.give_batches(
                producer, kafka.changes_topic, 0, [(b"k", value, headers) for value in some]
            )
            producer.flush(timeout=20)
            assert all(batch.answered for batch in batches)
            for batch in batches:
                batch.check()
        assert not producer._accumulator.has_incomplete
    finally:
        producer.close()
    with consuming(kafka) as consumer:
        records: list[Any] = []

        def read() -> bool:
            records.extend(consumer.poll(100).get(place(kafka), []))
            return len(records) >= len(values)

        eventually(read)
    assert [record.value for record in records] == values
    assert [record.offset for record in records] == list(range(len(values)))
    assert records[0].headers == headers
    assert records[-1].key == b"k"


def test_whole_batches_are_read(kafka: KafkaConfig) -> None:
    """From any offset, in as many polls as it takes, and from where the last one ended."""
    producer = open_producer(kafka)
    try:
        send_all(producer, kafka, [
            (kafka.changes_topic, 0, b"k", b"%d" % number, [("h", b"%d" % number)])
            for number in range(500)
        ])  # fmt: skip
    finally:
        producer.close()
    with consuming(kafka, max_poll_records=70) as consumer:
        for start in (0, 123, 499):
            consumer.seek(place(kafka), start)
            records: list[Any] = []

            def read(found: list[Any] = records, most: int = 500 - start) -> bool:
                some = consumer.poll(100).get(place(kafka), [])
                assert len(some) <= 70
                found.extend(some)
                assert consumer.position(place(kafka)) == 500 - most + len(found)
                return len(found) == most

            eventually(read)
            assert {type(record) for record in records} == {Record}
            assert [
                (one.topic, one.partition, one.offset, one.key, one.value, one.headers)
                for one in records
            ] == [
                (*place(kafka), number, b"k", b"%d" % number, [("h", b"%d" % number)])
                for number in range(start, 500)
            ]


def test_a_coordinator_that_is_known_is_not_looked_for(kafka: KafkaConfig) -> None:
    looked: list[object] = []
    consumer = open_consumer(kafka, kafka.indexer_group)
    try:
        coordinator = consumer._coordinator
        look = coordinator.ensure_coordinator_ready_async

        def looking(timeout_ms: float | None = None) -> object:
            looked.append(timeout_ms)
            return look(timeout_ms)

        coordinator.ensure_coordinator_ready_async = looking
        subscribe(consumer, kafka, kafka.changes_topic)
        eventually(lambda: consumer.poll(JOIN_MS) or consumer.assignment())
        assert looked
        looked.clear()
        for _ in range(5):
            consumer.poll(0)
        assert not looked
        coordinator.coordinator_dead("the test says so")
        eventually(lambda: consumer.poll(JOIN_MS) or coordinator.coordinator_id is not None)
        assert looked
    finally:
        consumer.close()


def test_a_join_that_has_begun_is_finished(kafka: KafkaConfig) -> None:
    with consuming(kafka, kafka.indexer_group) as consumer:
        eventually(lambda: consumer.poll(JOIN_MS) or not consumer._coordinator.rejoining)
        assert not consumer._coordinator.need_rejoin()
        consumer._coordinator.rejoining = True
        assert consumer._coordinator.need_rejoin()


def test_control_kafka_python_alone_does_not_finish_it(
    kafka: KafkaConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should that change, `finish_joining` can go."""
    monkeypatch.setattr("mynamo.log.clients.finish_joining", lambda consumer: None)
    with consuming(kafka, kafka.indexer_group) as consumer:
        consumer._coordinator.rejoining = True
        assert not consumer._coordinator.need_rejoin()


def test_whether_a_consumer_is_joining(kafka: KafkaConfig) -> None:
    consumer = open_consumer(kafka, kafka.indexer_group)
    try:
        subscribe(consumer, kafka, kafka.changes_topic)
        assert is_joining(consumer)
        eventually(lambda: consumer.poll(JOIN_MS) or not is_joining(consumer))
        assert consumer.assignment()
        consumer.subscribe([kafka.changes_topic, kafka.writes_topic])
        assert is_joining(consumer)
        assert consumer.assignment()  # which alone would not tell
    finally:
        consumer.close()


def test_a_topic_of_the_same_name_has_another_identity(kafka: KafkaConfig) -> None:
    topic = kafka.changes_topic
    with consuming(kafka) as consumer:
        before = eventually(
            lambda: consumer.partitions_for_topic(topic) and identity(consumer, topic)
        )
        assert identity(consumer, topic) == before
        assert identity(consumer, kafka.writes_topic) in (
            "",
            identity(consumer, kafka.writes_topic),
        )
        assert identity(consumer, "unknown") == ""
    admin = open_admin(kafka)
    admin.delete_topics([topic])
    admin.close()
    ensure_topics(kafka)
    with consuming(kafka) as consumer:
        after = eventually(
            lambda: consumer.partitions_for_topic(topic) and identity(consumer, topic)
        )
    assert after != before


def test_groups_of_the_embedded_broker_are_described(
    kafka: KafkaConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert group_members(kafka, kafka.indexer_group) == 0
    with consuming(kafka, kafka.indexer_group):
        assert group_members(kafka, kafka.indexer_group, wait=10) == 1
        monkeypatch.setattr("mynamo.log.clients.leave_permissions_out", lambda admin: None)
        with pytest.raises(ValueError, match="ACLOperation"):  # should that change, it can go
            group_members(kafka, kafka.indexer_group)


def test_what_a_consumer_knows_of_a_partition(kafka: KafkaConfig) -> None:
    producer = open_producer(kafka)
    send(kafka, producer, 3)
    with consuming(kafka) as consumer:
        where = place(kafka)
        assert kafka_internals.offset_and_end(consumer, where) == (None, None)
        other = TopicPartition(kafka.writes_topic, 0)
        assert kafka_internals.offset_and_end(consumer, other) is None
        eventually(lambda: consumer.poll(timeout_ms=100, max_records=2))
        assert kafka_internals.offset_and_end(consumer, where) == (2, 3)
        send(kafka, producer)
        eventually(
            lambda: (
                consumer.poll(timeout_ms=100) is not None
                and kafka_internals.offset_and_end(consumer, where) == (4, 4)
            )
        )
        assert isinstance(kafka_internals.leader(consumer, where), int)
        assert kafka_internals.leader(consumer, TopicPartition("unknown", 0)) is None
    producer.close()


@contextmanager
def proxied(port: int) -> Iterator[KafkaProxy]:
    """A proxy before a broker that is yet to be started."""
    with KafkaProxy() as proxy:
        proxy.lead_to(port)
        yield proxy


def test_brokers_are_allowed_the_time_that_was_set(tmp_path: Path) -> None:
    port = free_port()
    with proxied(port) as proxy, EmbeddedBroker(tmp_path, port, proxy.port):
        config = KafkaConfig(bootstrap_servers=f"127.0.0.1:{proxy.port}", partitions=1)
        ensure_topics(config)
        with consuming(config, fetch_max_wait_ms=7) as consumer:
            eventually(lambda: consumer.poll(timeout_ms=50) or proxy.waits)
            assert set(proxy.waits) == {7}
            kafka_internals.allow_collecting(consumer, 123)
            eventually(lambda: consumer.poll(timeout_ms=50) or 123 in proxy.waits)


def test_answers_are_heard_of(kafka: KafkaConfig) -> None:
    producer = open_producer(kafka)
    send(kafka, producer)
    producer.close()
    heard: list[int] = []
    with consuming(kafka, fetch_max_wait_ms=1) as consumer:
        kafka_internals.call_at_answers(consumer, heard.append)
        assert eventually(lambda: consumer.poll(timeout_ms=100))
        with_messages = len(heard)
        assert with_messages > 0
        eventually(lambda: consumer.poll(timeout_ms=100) or len(heard) > with_messages)
        assert set(heard) == {kafka_internals.leader(consumer, place(kafka))}
