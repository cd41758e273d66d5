"""The three topics: created where they are missing, checked where they exist.

mynamo creates topics with the settings below. In topics that somebody else created, a setting that
loses messages which exist nowhere else is refused or reported. Other settings are the owner's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import BrokerResponseError, TopicAlreadyExistsError

from mynamo.errors import ConfigError, LogUnavailable
from mynamo.log.clients import MAX_MESSAGE, kafka_errors, open_admin
from mynamo.mysql.server_checks import Complaint, say_once
from mynamo.schemas.config import KafkaConfig

Role = Literal["changes", "writes", "dead_letters"]

_HOUR = 3_600_000
_DAY = 24 * _HOUR
SHORTEST: dict[Role, int] = {"changes": _HOUR, "writes": 7 * _DAY, "dead_letters": 28 * _DAY}
"""Milliseconds that a topic should keep messages at the least. Queued writes are applied for
seven days; change events are in the shards as well, until every index has them."""
SMALLEST = 1 << 30
"""Bytes that a partition should keep at the least, if it has a limit."""
_LOSS: dict[Role, str] = {
    "changes": "consumers that were away miss events, and indexers have them published again",
    "writes": "queued writes that no writer has applied yet are lost",
    "dead_letters": "dead letters are lost before anybody has dealt with them",
}


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is.

    Attributes:
        name: of the topic.
        role: what it is for.
        replicas: of the partition that has the fewest.
        settings: as far as the broker shows them.
        partitions: how many it has.
    """

    name: str
    role: Role
    replicas: int
    settings: Mapping[str, str]
    partitions: int


def settings_for(role: Role, replicas: int) -> dict[str, str]:
    """The settings with which a topic is made."""
    settings = {"max.message.bytes": str(MAX_MESSAGE), "cleanup.policy": "delete"}
    if role == "writes":
        settings |= {"retention.ms": str(8 * _DAY), "retention.bytes": "-1"}
    if role == "dead_letters":
        settings |= {"retention.ms": "-1", "retention.bytes": "-1"}
    if replicas >= 3:
        settings["min.insync.replicas"] = "2"
    return settings


def unfit(topic: Topic, config: KafkaConfig) -> Iterator[Complaint]:
    """Why a topic cannot do its work: it has another number of partitions, takes small messages
    only, or drops queued writes."""
    wanted = partitions_of(topic.role, config)
    if topic.partitions != wanted:
        yield Complaint(
            "partitions",
            f"topic {topic.name} has {topic.partitions} partitions, but kafka.partitions says "
            f"{wanted}: an item's events would lose their order",
            "correct the configuration",
        )
    largest = topic.settings.get("max.message.bytes")
    if largest is not None and int(largest) < MAX_MESSAGE:
        yield Complaint(
            "max.message.bytes",
            f"topic {topic.name} takes messages of {largest} bytes, but an event can have "
            f"{MAX_MESSAGE}",
            _remedy(topic, "max.message.bytes", str(MAX_MESSAGE)),
        )
    if topic.role == "writes" and "compact" in topic.settings.get("cleanup.policy", ""):
        yield Complaint(
            "cleanup.policy",
            f"topic {topic.name} is compacted, so of an item's queued writes only the last would "
            "be applied",
            _remedy(topic, "cleanup.policy", "delete"),
        )


def partitions_of(role: Role, config: KafkaConfig) -> int:
    """How many partitions a topic must have."""
    return 1 if role == "dead_letters" else config.partitions


def complaints(topic: Topic, wanted_replicas: int) -> Iterator[Complaint]:
    """What is risky about a topic.

    Args:
        wanted_replicas: as the configuration says.
    """
    if topic.replicas < wanted_replicas:
        yield Complaint(
            "replicas",
            f"topic {topic.name} has {topic.replicas} replicas, but kafka.replication_factor says "
            f"{wanted_replicas}: when as many brokers are lost, {_LOSS[topic.role]}",
            "give it more with kafka-reassign-partitions.sh",
        )
    for name, want, risk in _risks(topic):
        text = f"topic {topic.name}: {name} is {topic.settings[name]}: {risk}"
        yield Complaint(name, text, _remedy(topic, name, want))


def _risks(topic: Topic) -> Iterator[tuple[str, str, str]]:
    settings, loss = topic.settings, _LOSS[topic.role]
    in_sync = int(settings.get("min.insync.replicas", topic.replicas))
    if in_sync > topic.replicas:
        yield "min.insync.replicas", str(topic.replicas), "it has fewer replicas, so it takes none"
    elif topic.replicas >= 3 and in_sync < 2:
        risk = f"a message can be acknowledged by one broker alone, and if that is lost, {loss}"
        yield "min.insync.replicas", "2", risk
    if topic.replicas > 1 and settings.get("unclean.leader.election.enable") == "true":
        risk = f"a replica that lacks messages can become the leader, and then {loss}"
        yield "unclean.leader.election.enable", "false", risk
    if "compact" in settings.get("cleanup.policy", ""):
        yield "cleanup.policy", "delete", f"of one key only the last message is kept: {loss}"
    kept = int(settings.get("retention.ms", "-1"))
    if 0 <= kept < SHORTEST[topic.role]:
        want = "-1" if topic.role == "dead_letters" else str(8 * _DAY)
        yield "retention.ms", want, f"after {kept / _HOUR:g} hours {loss}"
    size = int(settings.get("retention.bytes", "-1"))
    if 0 <= size < SMALLEST:
        yield "retention.bytes", "-1", f"when a partition is larger, {loss}"


def _remedy(topic: Topic, setting: str, value: str) -> str:
    return (
        f"kafka-configs.sh --alter --entity-type topics --entity-name {topic.name} "
        f"--add-config {setting}={value}"
    )


log = logging.getLogger(__name__)


def ensure_topics(config: KafkaConfig) -> None:
    """Create the topics that are missing, and check that the others fit.

    What is risky about their settings is a warning, once per process.

    Raises:
        ConfigError: a topic is not fit (see `unfit`).
        LogUnavailable: Kafka does not answer, or has just made the topics and is not ready.
    """
    roles = roles_of(config)
    admin = open_admin(config)
    try:
        with kafka_errors(config):
            existing = _replicas(admin)
            missing = [name for name in roles if name not in existing]
            for name in missing:
                partitions = partitions_of(roles[name], config)
                _create(admin, name, roles[name], partitions, config.replication_factor)
            deadline = time.monotonic() + 20
            while not roles.keys() <= existing.keys():
                if time.monotonic() > deadline:
                    raise LogUnavailable(f"Kafka has not made the topics {missing} yet; try again")
                time.sleep(0.05)
                existing = _replicas(admin)
            topics = _topics(admin, roles, existing)
    finally:
        admin.close()
    for topic in topics:
        for failing in unfit(topic, config):
            raise ConfigError(str(failing))
    for topic in topics:
        for one in complaints(topic, config.replication_factor):
            value = topic.settings.get(one.setting, "")
            say_once((config.bootstrap_servers, topic.name, one.setting, value), f"Kafka: {one}")


def look_at_topics(config: KafkaConfig, seconds: float) -> list[Topic]:
    """Those of the topics that there are; it makes none.

    Args:
        seconds: for which an answer is waited for.

    Raises:
        LogUnavailable: Kafka does not answer.
    """
    admin = open_admin(config, seconds)
    try:
        with kafka_errors(config):
            return _topics(admin, roles_of(config), _replicas(admin))
    finally:
        admin.close()


def roles_of(config: KafkaConfig) -> dict[str, Role]:
    """What each topic is for, by its name."""
    return {
        config.changes_topic: "changes",
        config.writes_topic: "writes",
        config.dead_letter_topic: "dead_letters",
    }


def _topics(
    admin: Any, roles: Mapping[str, Role], existing: Mapping[str, list[int]]
) -> list[Topic]:
    there = {name: role for name, role in roles.items() if name in existing}
    settings = _settings(admin, there) if there else {}
    return [
        Topic(name, role, min(existing[name]), settings.get(name, {}), len(existing[name]))
        for name, role in there.items()
    ]


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
