"""The topics: made where they are missing, refused where they would lose or reorder events."""

from __future__ import annotations

import logging

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from mynamo.errors import ConfigError, LogUnavailable
from mynamo.local import Broker
from mynamo.log import ensure_topics, open_producer
from mynamo.mysql.server_checks import forget_warnings
from mynamo.schemas.config import ClusterConfig, KafkaConfig


def make(admin: KafkaAdminClient, name: str, partitions: int, size: int) -> None:
    admin.create_topics(
        [NewTopic(name, partitions, 1, topic_configs={"max.message.bytes": str(size)})]
    )


def test_they_are_made_once(config: ClusterConfig, kafka_admin: KafkaAdminClient) -> None:
    for _ in range(2):
        ensure_topics(config.kafka)
    made = {t["name"]: len(t["partitions"]) for t in kafka_admin.describe_topics()}
    assert made[config.kafka.changes_topic] == config.kafka.partitions
    assert made[config.kafka.dead_letter_topic] == 1


def test_another_number_of_partitions_is_refused(
    config: ClusterConfig, kafka_admin: KafkaAdminClient
) -> None:
    make(kafka_admin, config.kafka.writes_topic, config.kafka.partitions + 1, 2**24)
    with pytest.raises(ConfigError, match="would lose their order"):
        ensure_topics(config.kafka)


def test_a_topic_for_small_messages_is_refused(kafka_servers: Broker) -> None:
    kafka = KafkaConfig(bootstrap_servers=kafka_servers.bootstrap_servers, partitions=2)
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers.bootstrap_servers)
    make(admin, kafka.changes_topic, 2, 1_000_000)
    try:
        with pytest.raises(ConfigError, match=r"max\.message\.bytes=16777216"):
            ensure_topics(kafka)
    finally:
        admin.delete_topics([kafka.changes_topic])
        admin.close()


def test_risky_settings_are_said_once(
    kafka_servers: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    forget_warnings()
    kafka = KafkaConfig(
        bootstrap_servers=kafka_servers.bootstrap_servers, partitions=2,
        writes_topic="risky.writes", changes_topic="risky.changes", dead_letter_topic="risky.dead",
    )  # fmt: skip
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers.bootstrap_servers)
    settings = {"max.message.bytes": str(2**24), "retention.ms": "60000"}
    admin.create_topics([NewTopic(kafka.writes_topic, 2, 1, topic_configs=settings)])
    try:
        for _ in range(2):
            ensure_topics(kafka)
        own = [r for r in caplog.records if r.name.startswith("mynamo")]
        (said,) = [r.getMessage() for r in own if r.levelno >= logging.WARNING]
        assert "topic risky.writes: retention.ms is 60000: after 0.0166667 hours queued" in said
    finally:
        admin.delete_topics([kafka.changes_topic, kafka.writes_topic, kafka.dead_letter_topic])
        admin.close()


def test_producers_are_idempotent_and_wait_for_all_replicas(kafka_servers: Broker) -> None:
    producer = open_producer(KafkaConfig(bootstrap_servers=kafka_servers.bootstrap_servers))
    try:
        assert producer.config["enable_idempotence"] is True
        assert producer.config["acks"] in ("all", -1)
    finally:
        producer.close()


def test_a_broker_that_is_not_there_is_named() -> None:
    with pytest.raises(LogUnavailable, match=r"Kafka at 127\.0\.0\.1:1 does not answer"):
        ensure_topics(KafkaConfig(bootstrap_servers="127.0.0.1:1"))
