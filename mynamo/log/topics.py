"""The three topics: made where they are missing, checked where they are not."""

from __future__ import annotations

import logging
import time

from kafka.admin import NewTopic
from kafka.errors import TopicAlreadyExistsError

from mynamo.errors import ConfigError, LogUnavailable
from mynamo.log.clients import MAX_MESSAGE, kafka_errors, open_admin
from mynamo.schemas.config import KafkaConfig

log = logging.getLogger(__name__)


def ensure_topics(config: KafkaConfig) -> None:
    """Create the topics that are missing, and check that the others fit.

    Raises:
        ConfigError: a topic has another number of partitions: events would lose their order.
        LogUnavailable: Kafka does not answer, or has just made the topics and is not ready.
    """
    wanted = {
        config.changes_topic: config.partitions,
        config.writes_topic: config.partitions,
        config.dead_letter_topic: 1,
    }
    admin = open_admin(config)
    try:
        with kafka_errors(config):
            existing = _partitions(admin)
            missing = [name for name in wanted if name not in existing]
            for name in missing:
                _create(admin, name, wanted[name], config.replication_factor)
            deadline = time.monotonic() + 20
            while not wanted.keys() <= existing.keys():
                if time.monotonic() > deadline:
                    raise LogUnavailable(f"Kafka has not made the topics {missing} yet; try again")
                time.sleep(0.05)
                existing = _partitions(admin)
    finally:
        admin.close()
    for name, partitions in wanted.items():
        if existing[name] != partitions:
            raise ConfigError(
                f"topic {name} has {existing[name]} partitions, but kafka.partitions says "
                f"{partitions}: an item's events would lose their order; correct the configuration"
            )


def _create(admin: object, name: str, partitions: int, replicas: int) -> None:
    topic = NewTopic(
        name, partitions, replicas, topic_configs={"max.message.bytes": str(MAX_MESSAGE)}
    )
    try:
        admin.create_topics([topic], timeout_ms=15_000)  # type: ignore[attr-defined]
        log.info("made topic %s with %d partitions", name, partitions)
    except TopicAlreadyExistsError:  # another process was faster
        pass


def _partitions(admin: object) -> dict[str, int]:
    topics = admin.describe_topics()  # type: ignore[attr-defined]
    return {
        topic["name"]: len(topic["partitions"])
        for topic in topics
        if not topic.get("error_code") and topic["partitions"]
    }
