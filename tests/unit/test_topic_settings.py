"""Settings of topics that would lose messages are found, and the remedy is said."""

from __future__ import annotations

import pytest

from mynamo.log.topics import Role, Topic, complaints, partitions_of, settings_for, unfit
from mynamo.schemas.config import KafkaConfig

KAFKA = KafkaConfig()
DAY = 24 * 3_600_000
ROLES: tuple[Role, ...] = ("changes", "writes", "dead_letters")


def topic(role: Role, replicas: int = 3, **settings: object) -> Topic:
    given = {name.replace("_", "."): str(value) for name, value in settings.items()}
    made = settings_for(role, replicas) | given
    return Topic("t", role, replicas, made, partitions_of(role, KAFKA))


def found(topic: Topic, wanted: int = 3) -> dict[str, str]:
    return {one.setting: str(one) for one in complaints(topic, wanted)}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_topics_that_mynamo_makes_are_fit(role: Role, replicas: int) -> None:
    made = topic(role, replicas)
    assert list(unfit(made, KAFKA)) == []
    assert found(made, replicas) == {}


@pytest.mark.parametrize("role", ROLES)
def test_of_settings_that_nobody_shows_nothing_is_said(role: Role) -> None:
    hidden = Topic("t", role, 3, {}, partitions_of(role, KAFKA))
    assert list(unfit(hidden, KAFKA)) == []
    assert found(hidden) == {}


@pytest.mark.parametrize(
    ("risky", "setting", "remedy"),
    [
        (topic("writes", min_insync_replicas=1), "min.insync.replicas", "min.insync.replicas=2"),
        (topic("writes", 1, min_insync_replicas=2), "min.insync.replicas",
         "min.insync.replicas=1"),
        (topic("writes", unclean_leader_election_enable="true"), "unclean.leader.election.enable",
         "unclean.leader.election.enable=false"),
        (topic("writes", retention_ms=DAY), "retention.ms", f"retention.ms={8 * DAY}"),
        (topic("dead_letters", retention_ms=7 * DAY), "retention.ms", "retention.ms=-1"),
        (topic("changes", retention_ms=60_000), "retention.ms", f"retention.ms={8 * DAY}"),
        (topic("dead_letters", retention_bytes=10**6), "retention.bytes", "retention.bytes=-1"),
        (topic("changes", cleanup_policy="compact,delete"), "cleanup.policy",
         "cleanup.policy=delete"),
    ],
)  # fmt: skip
def test_what_is_risky_is_said_with_its_remedy(risky: Topic, setting: str, remedy: str) -> None:
    said = found(risky, risky.replicas)
    assert set(said) == {setting}
    assert f"{setting} is {risky.settings[setting]}" in said[setting]
    assert said[setting].endswith(f"--entity-name t --add-config {remedy}")


def test_fewer_replicas_than_configured() -> None:
    assert set(found(topic("changes", 1), 3)) == {"replicas"}


def test_a_compacted_queue_is_refused() -> None:
    (failing,) = unfit(topic("writes", cleanup_policy="compact"), KAFKA)
    assert "only the last would be applied" in failing.text
    assert failing.todo.endswith("cleanup.policy=delete")


def test_another_number_of_partitions_is_refused() -> None:
    (failing,) = unfit(topic("changes"), KAFKA.model_copy(update={"partitions": 3}))
    assert "has 8 partitions, but kafka.partitions says 3" in failing.text
