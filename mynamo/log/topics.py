"""The three topics: made where they are missing, checked where they are not."""

from __future__ import annotations

import logging
import time

from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import BrokerResponseError, TopicAlreadyExistsError

from mynamo.errors import ConfigError, LogUnavailable
from mynamo.log.clients import MAX_MESSAGE, kafka_errors, open_admin
from mynamo.schemas.config import KafkaConfig

log = logging.getLogger(__name__)


def ensure_topics(config: KafkaConfig) -> None:
    """Create the topics that are missing, and check that the others fit.

    Raises:
        ConfigError: a topic has another number of partitions: events would lose their order;
            or it does not take messages as large as an event can be.
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
            _check_sizes(admin, [name for name in wanted if name not in missing])
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


def _check_sizes(admin: object, names: list[str]) -> None:
    """Refuse topics that somebody made with room for small messages only.

    A broker may not show us its settings.
    """
    if not names:
        return
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    try:
        found = admin.describe_configs(resources, config_filter="all")  # type: ignore[attr-defined]
    except BrokerResponseError as error:
        log.info("the settings of the topics cannot be read, so they are not checked: %s", error)
        return
    for name, settings in found.get("topic", {}).items():
        largest = settings.get("max.message.bytes", {}).get("value")
        if largest is not None and int(largest) < MAX_MESSAGE:
            raise ConfigError(
                f"topic {name} takes messages of {largest} bytes, but an event can have "
                f"{MAX_MESSAGE}; set its max.message.bytes to that (kafka-configs.sh --alter "
                f"--entity-type topics --entity-name {name} --add-config "
                f"max.message.bytes={MAX_MESSAGE})"
            )


def _partitions(admin: object) -> dict[str, int]:
    topics = admin.describe_topics()  # type: ignore[attr-defined]
    return {
        topic["name"]: len(topic["partitions"])
        for topic in topics
        if not topic.get("error_code") and topic["partitions"]
    }
