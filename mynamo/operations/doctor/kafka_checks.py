"""Checks of Kafka: its topics, and whether an indexer is at work."""

from __future__ import annotations

from collections.abc import Iterator

from mynamo.errors import LogUnavailable
from mynamo.log.clients import group_members
from mynamo.log.topics import Topic, complaints, look_at_topics, roles_of, unfit
from mynamo.operations.doctor.diagnosis import Check, said_of
from mynamo.schemas.config import KafkaConfig

SECONDS = 4.0
"""For which an answer is waited for."""
_MAKE = "run `mynamo writer` or `mynamo indexer`, which make it"
_START = "start it, or correct kafka.bootstrap_servers"


def look_at_kafka(config: KafkaConfig) -> list[Check]:
    """Look at the topics and at the indexers' group; nothing is made."""
    about = f"Kafka at {config.bootstrap_servers}"
    try:
        there = {topic.name: topic for topic in look_at_topics(config, SECONDS)}
        checks = [Check("ok", about, "answers")]
        for name in roles_of(config):
            topic = there.get(name)
            if topic is None:
                checks.append(Check("problem", about, f"there is no topic {name}", _MAKE))
            else:
                checks += _look_at_topic(about, topic, config)
        checks.append(_look_at_indexers(about, config))
    except LogUnavailable as failure:
        return [Check.of(about, said_of(failure, about, _START))]
    return checks


def _look_at_topic(about: str, topic: Topic, config: KafkaConfig) -> Iterator[Check]:
    wrong = [Check("problem", about, one.text, one.todo) for one in unfit(topic, config)]
    unfit_settings = {one.setting for one in unfit(topic, config)}
    risky = [
        Check("warning", about, one.text, one.todo)
        for one in complaints(topic, config.replication_factor)
        if one.setting not in unfit_settings
    ]
    yield from (*wrong, *risky)
    if not wrong and not risky:
        in_sync = topic.settings.get("min.insync.replicas")
        text = f"topic {topic.name}: partitions {topic.partitions}, replicas {topic.replicas}"
        text += "" if in_sync is None else f", min.insync.replicas {in_sync}"
        yield Check("ok", about, text)


def _look_at_indexers(about: str, config: KafkaConfig) -> Check:
    members = group_members(config, config.indexer_group)
    if members == 0:
        text = f"no indexer is in the group {config.indexer_group}, so indexes stand still"
        return Check("warning", about, text, "`mynamo indexer`")
    return Check("ok", about, f"indexers at work: {members}")
