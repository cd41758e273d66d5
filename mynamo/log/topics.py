"""The three topics: made where they are missing, checked where they are not."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import BrokerResponseError, TopicAlreadyExistsError

from mynamo.errors import ConfigError, LogUnavailable
from mynamo.log.clients import kafka_errors, open_admin
from mynamo.log.topic_settings import Role, Topic, complaints, refuse_unfit, settings_for
from mynamo.schemas.config import KafkaConfig
from mynamo.shards.hygiene import warn_once

log = logging.getLogger(__name__)


def ensure_topics(config: KafkaConfig) -> None:
    """Create the topics that are missing, and check that the others fit.

    What is risky about their settings is a warning, once per process.

    Raises:
        ConfigError: a topic has another number of partitions: events would lose their order;
            or it does not take messages as large as an event can be, or drops queued writes.
        LogUnavailable: Kafka does not answer, or has just made the topics and is not ready.
    """
    roles: dict[str, Role] = {
        config.changes_topic: "changes",
        config.writes_topic: "writes",
        config.dead_letter_topic: "letters",
    }
    wanted = {n: 1 if role == "letters" else config.partitions for n, role in roles.items()}
    admin = open_admin(config)
    try:
        with kafka_errors(config):
            existing = _replicas(admin)
            missing = [name for name in roles if name not in existing]
            for name in missing:
                _create(admin, name, roles[name], wanted[name], config.replication_factor)
            deadline = time.monotonic() + 20
            while not roles.keys() <= existing.keys():
                if time.monotonic() > deadline:
                    raise LogUnavailable(f"Kafka has not made the topics {missing} yet; try again")
                time.sleep(0.05)
                existing = _replicas(admin)
            settings = _settings(admin, roles)
    finally:
        admin.close()
    for name, partitions in wanted.items():
        if len(existing[name]) != partitions:
            raise ConfigError(
                f"topic {name} has {len(existing[name])} partitions, but kafka.partitions says "
                f"{partitions}: an item's events would lose their order; correct the configuration"
            )
    for name, role in roles.items():
        topic = Topic(name, role, min(existing[name]), settings.get(name, {}))
        refuse_unfit(topic)
        for setting, text in complaints(topic, config.replication_factor):
            value = topic.settings.get(setting, "")
            warn_once((config.bootstrap_servers, name, setting, value), f"Kafka: {text}")


def _create(admin: Any, name: str, role: Role, partitions: int, replicas: int) -> None:
    topic = NewTopic(name, partitions, replicas, topic_configs=settings_for(role, replicas))
    try:
        admin.create_topics([topic], timeout_ms=15_000)
        log.info("made topic %s with %d partitions", name, partitions)
    except TopicAlreadyExistsError:  # another process was faster
        pass


def _settings(admin: Any, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Topics' settings, as far as the broker shows them."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    try:
        found = admin.describe_configs(resources, config_filter="all")
    except BrokerResponseError as error:
        log.info("the settings of the topics cannot be read, so they are not checked: %s", error)
        return {}
    return {
        name: {key: str(each["value"]) for key, each in settings.items()
               if each.get("value") is not None}
        for name, settings in found.get("topic", {}).items()
    }  # fmt: skip


def _replicas(admin: Any) -> dict[str, list[int]]:
    """How many replicas each partition of each topic has."""
    return {
        topic["name"]: [len(each["replica_nodes"]) for each in topic["partitions"]]
        for topic in admin.describe_topics()
        if not topic.get("error_code") and topic["partitions"]
    }
