"""Kafka clients, configured so that nothing acknowledged is lost or reordered."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import CoordinatorNotAvailableError, KafkaError

from mynamo.errors import LogUnavailable, MynamoError
from mynamo.log.kafka_internals import (
    ForkedProducer,
    finish_joining,
    know_coordinator,
    leave_permissions_out,
    read_whole_batches,
)
from mynamo.schemas.config import KafkaConfig

MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of the largest message: both images of a 400 KB item whose JSON is many times that."""

_DELIVERY_MS = 30_000

Message = tuple[str, int, bytes | None, bytes, list[tuple[str, bytes]]]
"""Topic, partition, key, value, headers."""


@contextmanager
def kafka_errors(config: KafkaConfig) -> Iterator[None]:
    """Turn the client library's exceptions into ours.

    Raises:
        LogUnavailable: in place of any of them.
    """
    try:
        yield
    except MynamoError:
        raise
    except (KafkaError, OSError) as error:
        text = str(error) or type(error).__name__
        raise LogUnavailable(
            f"Kafka at {config.bootstrap_servers} does not answer or refuses: {text}; "
            "check that it runs and that kafka.bootstrap_servers is right"
        ) from None


def open_producer(config: KafkaConfig) -> Any:
    """A KafkaProducer: idempotent, acknowledged by all in-sync replicas.

    Raises:
        LogUnavailable: no broker answers.
    """
    with kafka_errors(config):
        return ForkedProducer(
            **_connection(config),
            enable_idempotence=True,
            acks="all",
            delivery_timeout_ms=_DELIVERY_MS,
            request_timeout_ms=_DELIVERY_MS // 2,
            max_block_ms=_DELIVERY_MS,
            linger_ms=2,
            batch_size=256 * 1024,
            compression_type="lz4",
            max_request_size=MAX_MESSAGE,
            allow_auto_create_topics=False,
        )


def open_consumer(config: KafkaConfig, group: str | None, **options: Any) -> Any:
    """A KafkaConsumer that commits only when told to and starts at the earliest message.

    Args:
        group: None for one that is assigned its partitions by hand.
        options: as kafka-python names them.

    Raises:
        LogUnavailable: no broker answers.
    """
    defaults = {
        "max_partition_fetch_bytes": MAX_MESSAGE,
        "fetch_max_bytes": 4 * MAX_MESSAGE,
        "auto_offset_reset": "earliest",
    }
    with kafka_errors(config):
        consumer = KafkaConsumer(
            **_connection(config),
            group_id=group,
            enable_auto_commit=False,
            session_timeout_ms=config.session_timeout_ms,
            heartbeat_interval_ms=max(200, config.session_timeout_ms // 6),
            allow_auto_create_topics=False,
            metadata_max_age_ms=5_000,
            **defaults | options,
        )
    read_whole_batches(consumer)
    if group is not None:
        finish_joining(consumer)
        know_coordinator(consumer)
    return consumer


def subscribe(consumer: Any, config: KafkaConfig, topic: str, **options: Any) -> None:
    """Subscribe to a topic that exists, once the consumer knows its partitions.

    A consumer that joins its group earlier may assign no partitions at all.

    Args:
        options: as kafka-python names them.

    Raises:
        LogUnavailable: the broker does not know the topic.
    """
    with kafka_errors(config):
        deadline = time.monotonic() + 10
        while not consumer.partitions_for_topic(topic):
            if time.monotonic() > deadline:
                raise LogUnavailable(f"Kafka does not say where topic {topic} is; try again")
            time.sleep(0.05)
        consumer.subscribe([topic], **options)


def open_admin(config: KafkaConfig, seconds: float | None = None) -> Any:
    """A KafkaAdminClient.

    Args:
        seconds: for which it waits for a broker, and for each answer; None: 10 and 15.

    Raises:
        LogUnavailable: no broker answers.
    """
    limits = {"request_timeout_ms": _DELIVERY_MS // 2}
    if seconds is not None:
        limits = dict.fromkeys(("bootstrap_timeout_ms", "request_timeout_ms"), int(seconds * 1000))
    with kafka_errors(config):
        return KafkaAdminClient(**_connection(config) | limits)


def send_all(producer: Any, config: KafkaConfig, messages: Iterable[Message]) -> None:
    """Send messages and wait until Kafka has every one of them.

    Raises:
        LogUnavailable: it does not have them all; some may have been sent.
    """
    with kafka_errors(config):
        futures = [
            producer.send(topic, partition=partition, key=key, value=value, headers=headers)
            for topic, partition, key, value, headers in messages
        ]
        producer.flush(timeout=_DELIVERY_MS / 1000 + 5)
        for future in futures:
            future.get(timeout=5)


def _connection(config: KafkaConfig) -> dict[str, Any]:
    password = config.sasl_password
    return {
        "bootstrap_servers": config.bootstrap_servers.split(","),
        "client_id": "mynamo",
        "security_protocol": config.security_protocol,
        "ssl_cafile": config.ssl_cafile and str(config.ssl_cafile),
        "ssl_certfile": config.ssl_certfile and str(config.ssl_certfile),
        "ssl_keyfile": config.ssl_keyfile and str(config.ssl_keyfile),
        "sasl_mechanism": config.sasl_mechanism,
        "sasl_plain_username": config.sasl_username,
        "sasl_plain_password": password.get_secret_value() if password else None,
        "bootstrap_timeout_ms": 10_000,
        "reconnect_backoff_max_ms": 1_000,
    }


_PATIENCE = 5.0
"""Seconds that a broker may take to make the topic of groups: the first question makes it."""
_PAUSE = 0.1
_COMMITTED_MS = 10_000


def partitions_of_topic(consumer: Any, topic: str) -> list[TopicPartition]:
    """The partitions of a topic, by their numbers; none: there is no such topic.

    Raises:
        KafkaError: Kafka does not answer.
    """
    numbers = sorted(consumer.partitions_for_topic(topic) or ())
    return [TopicPartition(topic, number) for number in numbers]


def uncommitted(consumer: Any, topic: str) -> int:
    """Messages of a topic that the consumer's group has not committed.

    Raises:
        KafkaError: Kafka does not answer.
    """
    partitions = partitions_of_topic(consumer, topic)
    first = consumer.beginning_offsets(partitions)
    end = consumer.end_offsets(partitions)
    done = {
        partition: consumer.committed(partition, timeout_ms=_COMMITTED_MS)
        for partition in partitions
    }
    return sum(max(0, end[p] - max(done[p] or 0, first[p])) for p in partitions)


def group_members(config: KafkaConfig, group: str, wait: float = 0.0) -> int:
    """How many members a consumer group has.

    One that died counts until its session times out.

    Args:
        wait: seconds for a first one to come, if there is none.

    Raises:
        LogUnavailable: Kafka does not answer.
    """
    admin = open_admin(config)
    leave_permissions_out(admin)
    deadline = time.monotonic() + wait
    try:
        with kafka_errors(config):
            while True:
                count = len(_describe(admin, group)["members"])
                if count or time.monotonic() >= deadline:
                    return count
                time.sleep(_PAUSE)
    finally:
        admin.close()


def _describe(admin: Any, group: str) -> Any:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return admin.describe_groups([group])[group]
        except CoordinatorNotAvailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
