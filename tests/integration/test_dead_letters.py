"""Dead letters: nothing is dropped, and what is replayed happens once."""

from __future__ import annotations

import uuid
from base64 import b64encode
from typing import Any

import pytest

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.errors import CorruptData, InvalidItem, LogUnavailable, TableNotFound
from mynamo.log import Publisher, ensure_topics
from mynamo.log.dead_letter_topic import (
    DeadLetterEntry,
    read_dead_letter_entries,
    resolve_dead_letter,
    send_dead_letters,
)
from mynamo.operations import wait_until_applied
from mynamo.producer import Producer, WriteCommand
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.dead_letters import DeadLetter
from mynamo.schemas.events import complete_event
from mynamo.writer.queue import consumer as queue_module
from mynamo.writer.queue import replay as replay_module
from mynamo.writer.queue.commands_topic import command_message
from mynamo.writer.queue.replay import discard, replay
from tests.comparing import gsi_damage
from tests.integration.test_queue import applied, consume, raw, regrouped
from tests.rows import items_of, make_table
from tests.workers import pipeline

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("orders")]

KEY = {"id": "a", "at": "1"}


@pytest.fixture
def refused(cluster: Cluster, producer: Producer, publisher: Publisher) -> DeadLetterEntry:
    """A command refused by its condition; it adds one to a number."""
    producer.publish(
        producer.queued_update(
            "orders", KEY, expression="ADD n :one", values={":one": 1}, condition="n >= :one"
        )
    )
    consume(cluster, publisher, 1)
    return only(cluster)


def only(cluster: Cluster) -> DeadLetterEntry:
    (entry,) = read_dead_letter_entries(cluster.config.kafka)
    return entry


def count_of(cluster: Cluster) -> Any:
    ((_, item),) = items_of(cluster, cluster.table("orders")).values()
    return item["n"]["N"]


def test_a_dead_letter_says_what_where_when_and_why(
    cluster: Cluster, refused: DeadLetterEntry
) -> None:
    dead_letter = refused.dead_letter
    assert dead_letter.reason == "The conditional request failed"
    assert (dead_letter.kind, dead_letter.topic) == ("command", cluster.config.kafka.writes_topic)
    assert dead_letter.offset == 0
    assert dead_letter.written_at is not None
    assert dead_letter.written_at <= dead_letter.failed_at
    assert (refused.attempts, refused.state, refused.marked_at) == (1, "open", None)


def test_replayed_twice_it_is_applied_once_under_its_own_id(
    cluster: Cluster, producer: Producer, publisher: Publisher, refused: DeadLetterEntry
) -> None:
    producer.put("orders", {**KEY, "n": 1})
    for _ in range(2):
        replay(cluster, refused.dead_letter, publisher)
    assert only(cluster).state == "replayed"
    consume(cluster, publisher, 2)
    with regrouped(cluster) as again:  # everything comes once more, the refused one too
        consume(again, publisher, 3)
    assert count_of(cluster) == "2"
    after = only(cluster)
    assert (after.state, after.attempts) == ("replayed", 1)
    assert after.marked_at is not None


def test_control_under_new_ids_it_is_applied_twice(
    cluster: Cluster,
    producer: Producer,
    publisher: Publisher,
    refused: DeadLetterEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def renamed(cluster: Cluster, command: WriteCommand) -> Any:
        return command_message(cluster, command.model_copy(update={"command_id": uuid.uuid4()}))

    monkeypatch.setattr(replay_module, "command_message", renamed)
    producer.put("orders", {**KEY, "n": 1})
    for _ in range(2):
        replay(cluster, refused.dead_letter, publisher)
    consume(cluster, publisher, 2)
    assert count_of(cluster) == "3"


def test_a_replay_that_died_before_its_resolution_is_repeated(
    cluster: Cluster,
    producer: Producer,
    publisher: Publisher,
    refused: DeadLetterEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*_: object) -> None:
        raise LogUnavailable

    producer.put("orders", {**KEY, "n": 1})
    with monkeypatch.context() as dying:
        dying.setattr(replay_module, "resolve_dead_letter", die)
        with pytest.raises(LogUnavailable):
            replay(cluster, refused.dead_letter, publisher)
    assert only(cluster).state == "open"
    replay(cluster, refused.dead_letter, publisher)
    consume(cluster, publisher, 2)
    assert count_of(cluster) == "2"


def test_refused_again_it_is_open_again(
    cluster: Cluster, publisher: Publisher, refused: DeadLetterEntry
) -> None:
    replay(cluster, refused.dead_letter, publisher)
    consume(cluster, publisher, 1)
    again = only(cluster)
    assert (again.state, again.attempts, again.dead_letter.offset) == ("open", 2, 1)
    assert again.dead_letter.letter_id == refused.dead_letter.letter_id
    assert applied(cluster) == 0


def test_read_again_after_a_crash_a_dead_letter_stays_what_it_is(
    cluster: Cluster, publisher: Publisher, refused: DeadLetterEntry
) -> None:
    assert discard(cluster, refused.dead_letter, publisher)
    with regrouped(cluster) as again:
        consume(again, publisher, 1)
    after = only(cluster)
    assert (after.state, after.attempts) == ("discarded", 1)


def test_discarded_it_has_no_effect_even_if_it_comes_again(
    cluster: Cluster, producer: Producer, publisher: Publisher
) -> None:
    command = producer.queued_put("orders", KEY)
    unknown = command.model_copy(update={"table": "later"})
    publisher.send([raw(cluster, unknown.dump())])
    consume(cluster, publisher, 1)
    assert discard(cluster, only(cluster).dead_letter, publisher)
    make_table(cluster, "later")
    with regrouped(cluster) as again:
        consume(again, publisher, 1)
    assert items_of(cluster, cluster.table("later")) == {}
    # Who thinks better of it can still replay it.
    replay(cluster, only(cluster).dead_letter, publisher)
    consume(cluster, publisher, 1)
    assert len(items_of(cluster, cluster.table("later"))) == 1


def test_a_refused_command_that_reached_no_shard_stays_refused(
    cluster: Cluster, producer: Producer, publisher: Publisher
) -> None:
    put_aside_then_mended(cluster, producer, publisher)
    assert items_of(cluster, cluster.table("later")) == {}
    assert only(cluster).state == "open"


def test_control_without_the_record_it_is_applied_beside_its_dead_letter(
    cluster: Cluster,
    producer: Producer,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue_module, "record_refusals", lambda *_: set())
    put_aside_then_mended(cluster, producer, publisher)
    assert len(items_of(cluster, cluster.table("later"))) == 1
    assert only(cluster).state == "open"


def put_aside_then_mended(cluster: Cluster, producer: Producer, publisher: Publisher) -> None:
    """A command for a table that is made only later, and that then comes once more."""
    unknown = producer.queued_put("orders", KEY).model_copy(update={"table": "later"})
    publisher.send([raw(cluster, unknown.dump())])
    consume(cluster, publisher, 1)
    make_table(cluster, "later")
    with regrouped(cluster) as again:
        consume(again, publisher, 1)


def test_a_command_that_was_applied_elsewhere_gets_no_dead_letter(
    cluster: Cluster, producer: Producer, publisher: Publisher
) -> None:
    """As when a frozen worker wakes up with an older definition of its table."""
    command = producer.queued_put("orders", KEY)
    producer.publish(command)
    consume(cluster, publisher, 1)
    publisher.send([raw(cluster, command.model_copy(update={"table": "gone"}).dump())])
    consume(cluster, publisher, 1)
    assert read_dead_letter_entries(cluster.config.kafka) == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"table": "nowhere"}, TableNotFound),
        ({"item": {"id": {"S": "a"}}}, InvalidItem),
        (None, CorruptData),
    ],
)
def test_what_cannot_be_replayed_is_said_and_stays_open(
    cluster: Cluster,
    producer: Producer,
    publisher: Publisher,
    change: dict[str, Any] | None,
    error: type[Exception],
) -> None:
    command = producer.queued_put("orders", KEY)
    value = b"poison" if change is None else command.model_copy(update=change).dump()
    publisher.send([raw(cluster, value)])
    consume(cluster, publisher, 1)
    with pytest.raises(error):
        replay(cluster, only(cluster).dead_letter, publisher)
    assert only(cluster).state == "open"
    assert discard(cluster, only(cluster).dead_letter, publisher)
    assert only(cluster).state == "discarded"


def test_a_replayed_event_makes_the_index_right(
    config: ClusterConfig, cluster: Cluster, producer: Producer, publisher: Publisher
) -> None:
    with pipeline(config):
        producer.put("orders", {**KEY, "name": "x"})
        assert wait_until_applied(cluster, 60)
        index = cluster.table("orders").index("by_name")
        for shard in cluster.shards.values():
            shard.run((f"DELETE FROM {sql.index_table(index)}", ()))
        (payload,) = [
            row[0]
            for shard in cluster.shards.values()
            for row in shard.run(("SELECT payload FROM mynamo_outbox", ()))[0].rows
        ]
        dead_letter = event_letter(cluster, payload)
        send_dead_letters(publisher, [dead_letter])
        for _ in range(2):
            replay(cluster, dead_letter, publisher)
        assert wait_until_applied(cluster, 60)
    assert gsi_damage(cluster, "orders") == []
    assert only(cluster).state == "replayed"


def event_letter(cluster: Cluster, payload: bytes) -> DeadLetter:
    event = complete_event(
        payload, shard=1, outbox_id=1, version=1, partition=0, sequence=1, previous=0,
        feeds=True, committed_at=1,
    )  # fmt: skip
    return DeadLetter(
        letter_id="1-1", kind="event", reason="a test", value=b64encode(event).decode(),
        topic=cluster.config.kafka.changes_topic, partition=0, offset=0,
    )  # fmt: skip


def test_resolutions_of_dead_letters_that_are_gone_do_no_harm(
    cluster: Cluster, publisher: Publisher
) -> None:
    ensure_topics(cluster.config.kafka)
    resolve_dead_letter(publisher, event_letter(cluster, b"{}"), "discarded")
    assert read_dead_letter_entries(cluster.config.kafka) == []
