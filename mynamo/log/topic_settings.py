"""What the topics' settings must be, and what happens where they are not.

mynamo makes topics so. Of topics that somebody else made, what loses messages that exist
nowhere else is refused or said; the rest of the settings is nobody's business here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from mynamo.errors import ConfigError
from mynamo.log.clients import MAX_MESSAGE

Role = Literal["changes", "writes", "letters"]

_HOUR = 3_600_000
_DAY = 24 * _HOUR
SHORTEST: dict[Role, int] = {"changes": _HOUR, "writes": 7 * _DAY, "letters": 28 * _DAY}
"""Milliseconds that a topic should keep messages at the least. Queued writes are applied for
seven days; change events are in the shards as well, until every index has them."""
SMALLEST = 1 << 30
"""Bytes that a partition should keep at the least, if it has a limit."""
_LOSS: dict[Role, str] = {
    "changes": "consumers that were away miss events, and indexers have them published again",
    "writes": "queued writes that no writer has applied yet are lost",
    "letters": "dead letters are lost before anybody has dealt with them",
}


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is.

    Attributes:
        name: of the topic.
        role: what it is for.
        replicas: of the partition that has the fewest.
        settings: as far as the broker shows them.
    """

    name: str
    role: Role
    replicas: int
    settings: Mapping[str, str]


def settings_for(role: Role, replicas: int) -> dict[str, str]:
    """The settings with which a topic is made."""
    settings = {"max.message.bytes": str(MAX_MESSAGE), "cleanup.policy": "delete"}
    if role == "writes":
        settings |= {"retention.ms": str(8 * _DAY), "retention.bytes": "-1"}
    if role == "letters":
        settings |= {"retention.ms": "-1", "retention.bytes": "-1"}
    if replicas >= 3:
        settings["min.insync.replicas"] = "2"
    return settings


def refuse_unfit(topic: Topic) -> None:
    """Refuse a topic that cannot do its work.

    Raises:
        ConfigError: it takes small messages only, or drops queued writes.
    """
    largest = topic.settings.get("max.message.bytes")
    if largest is not None and int(largest) < MAX_MESSAGE:
        raise ConfigError(
            f"topic {topic.name} takes messages of {largest} bytes, but an event can have "
            f"{MAX_MESSAGE}; {_remedy(topic, 'max.message.bytes', str(MAX_MESSAGE))}"
        )
    if topic.role == "writes" and "compact" in topic.settings.get("cleanup.policy", ""):
        raise ConfigError(
            f"topic {topic.name} is compacted, so of an item's queued writes only the last would "
            f"be applied; {_remedy(topic, 'cleanup.policy', 'delete')}"
        )


def complaints(topic: Topic, wanted_replicas: int) -> Iterator[tuple[str, str]]:
    """What is risky about a topic: the setting's name, and a sentence that says what to do.

    Args:
        wanted_replicas: as the configuration says.
    """
    if topic.replicas < wanted_replicas:
        yield (
            "replicas",
            f"topic {topic.name} has {topic.replicas} replicas, but kafka.replication_factor says "
            f"{wanted_replicas}: when as many brokers are lost, {_LOSS[topic.role]}; give it more "
            "with kafka-reassign-partitions.sh",
        )
    for name, want, risk in _risks(topic):
        yield (
            name,
            f"topic {topic.name}: {name} is {topic.settings[name]}: {risk}; "
            + _remedy(topic, name, want),
        )


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
        want = "-1" if topic.role == "letters" else str(8 * _DAY)
        yield "retention.ms", want, f"after {kept / _HOUR:g} hours {loss}"
    size = int(settings.get("retention.bytes", "-1"))
    if 0 <= size < SMALLEST:
        yield "retention.bytes", "-1", f"when a partition is larger, {loss}"


def _remedy(topic: Topic, setting: str, value: str) -> str:
    return (
        f"kafka-configs.sh --alter --entity-type topics --entity-name {topic.name} "
        f"--add-config {setting}={value}"
    )
