"""Queued writes: each applied exactly once in effect, in order, and nothing blocks the queue."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.enabling import MOVES, enable
from mynamo.catalog.roll_forward import roll_forward
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.errors import (
    IndexNotFound,
    InternalError,
    InvalidRequest,
    NewerFormat,
    ShardUnavailable,
    Unavailable,
)
from mynamo.log import Publisher, ensure_topics, identity, open_admin, open_consumer
from mynamo.log.clients import Message
from mynamo.log.dead_letter_topic import read_dead_letters
from mynamo.mysql.pool import Result, Statement
from mynamo.producer import MUST_EXIST, MUST_NOT_EXIST, Producer, WriteCommand
from mynamo.schemas.commands import load_command
from mynamo.schemas.config import ClusterConfig, KafkaConfig
from mynamo.schemas.table import TableSchema
from mynamo.schemas.validation import load
from mynamo.schemas.values import StoredItem
from mynamo.writer import apply, maintenance
from mynamo.writer.maintenance import Maintenance
from mynamo.writer.queue import consumer as queue_module
from mynamo.writer.queue import refusals
from mynamo.writer.queue.commands_topic import DAY, command_message, command_request
from mynamo.writer.queue.consumer import WriteQueue
from mynamo.writer.transaction import commit, evaluation, group_commit, routing, statements
from mynamo.writer.transaction.routing import apply_each
from mynamo.writer.transaction.write_requests import (
    Current,
    Write,
    WriteRequest,
    apply_to,
    prepare,
)
from tests.rows import as_earlier, damage, everywhere, items_of, make_table, outbox_of
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("orders")]

KEY = {"id": "a", "at": "1"}


def applied(cluster: Cluster) -> int:
    """How many writes have been committed, ever: the outbox keeps them all in these tests."""
    return int(sum(row[0] for row in everywhere(cluster, "SELECT COUNT(*) FROM mynamo_outbox")))


def consume(cluster: Cluster, publisher: Publisher, messages: int) -> None:
    """Let one worker finish so many messages."""
    queue = WriteQueue(cluster, publisher)
    try:
        done = 0
        deadline = time.monotonic() + 60
        while done < messages:
            assert time.monotonic() < deadline, f"{done} of {messages} messages"
            done += queue.step()
        assert done == messages
    finally:
        queue.close()


def regrouped(cluster: Cluster) -> Cluster:
    """The same cluster for a worker that knows no offsets: all is delivered again."""
    kafka = cluster.config.kafka.model_copy(update={"writer_group": f"again.{uuid.uuid4().hex}"})
    return Cluster(cluster.config.model_copy(update={"kafka": kafka}))


def interleaved(producer: Producer, items: int, each: int) -> list[WriteCommand]:
    """Updates that count each item up, those of different items interleaved."""
    return [
        producer.queued_update("orders", {"id": f"i{item}", "at": "1"}, set={"count": count})
        for count in range(each)
        for item in range(items)
    ]


def histories(cluster: Cluster, table: Table) -> dict[str, list[str]]:
    """Per item, its counts in the order in which they were committed."""
    found: dict[str, list[str]] = {}
    for shard in cluster.shards.values():
        for _, event in outbox_of(shard, table):
            found.setdefault(event["keys"]["id"]["S"], []).append(event["new_image"]["count"]["N"])
    return found


# -- exactly once, in order -----------------------------------------------------------


def test_commands_are_applied_once_and_in_order_however_often_they_come(
    cluster: Cluster, orders: Table, producer: Producer, publisher: Publisher
) -> None:
    commands = interleaved(producer, items=7, each=30)
    producer.publish(*commands)
    producer.publish(*commands[:100])  # as after an error whose cause was only the answer
    consume(cluster, publisher, 310)
    before = items_of(cluster, orders)
    assert histories(cluster, orders) == {f"i{n}": [str(t) for t in range(30)] for n in range(7)}
    with regrouped(cluster) as again:
        consume(again, publisher, 310)
    assert items_of(cluster, orders) == before
    assert applied(cluster) == 210
    assert damage(cluster, orders) == []
    assert read_dead_letters(cluster.config.kafka) == []


def test_control_without_remembered_ids_they_are_applied_again(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    producer.publish(*interleaved(producer, items=2, each=5))
    consume(cluster, publisher, 10)
    monkeypatch.setattr(commit, "remembered_outcomes", lambda result: {})
    monkeypatch.setattr(statements, "insert_commands", lambda *_: ("DO 0", ()))
    with regrouped(cluster) as again:
        consume(again, publisher, 10)
    assert applied(cluster) == 20


def test_workers_that_apply_the_same_commands_at_once_do_no_harm(
    cluster: Cluster, orders: Table, producer: Producer, publisher: Publisher
) -> None:
    """What a worker does that was frozen, lost its partitions and wakes up: at its worst."""
    producer.publish(*interleaved(producer, items=5, each=40))
    with ThreadPoolExecutor(3) as pool, regrouped(cluster) as one, regrouped(cluster) as two:
        for done in [pool.submit(consume, c, publisher, 200) for c in (cluster, one, two)]:
            done.result()
    assert histories(cluster, orders) == {f"i{n}": [str(t) for t in range(40)] for n in range(5)}
    assert damage(cluster, orders) == []


def test_conditions_are_checked_when_a_command_is_applied(
    cluster: Cluster, orders: Table, producer: Producer, publisher: Publisher
) -> None:
    first = producer.queued_put("orders", {**KEY, "price": 1}, condition=MUST_NOT_EXIST)
    second = producer.queued_put("orders", {**KEY, "price": 2}, condition=MUST_NOT_EXIST)
    gone = producer.queued_delete("orders", {"id": "b", "at": "1"}, condition=MUST_EXIST)
    third = producer.queued_update("orders", KEY, set={"price": 3}, condition=MUST_EXIST)
    producer.publish(first, second, gone, third)
    consume(cluster, publisher, 4)
    ((_, item),) = items_of(cluster, orders).values()
    assert item["price"] == {"N": "3"}
    dead_letters = read_dead_letters(cluster.config.kafka)
    assert {dead_letter.letter_id for dead_letter in dead_letters} == {
        str(second.command_id),
        str(gone.command_id),
    }
    assert all("conditional request failed" in dead_letter.reason for dead_letter in dead_letters)


def test_expressions_wait_in_the_queue(
    cluster: Cluster, orders: Table, producer: Producer, publisher: Publisher
) -> None:
    add = producer.queued_update("orders", KEY, expression="ADD n :one", values={":one": 1})
    capped: dict[str, Any] = {"condition": "#n < :cap", "names": {"#n": "n"}, "values": {":cap": 2}}
    first = producer.queued_put("orders", KEY, condition="attribute_not_exists(id)")
    kept = producer.queued_delete("orders", KEY, condition="attribute_not_exists(id)")
    again = add.model_copy(update={"command_id": uuid.uuid4()})
    over = producer.queued_update(
        "orders", KEY, expression="ADD n :one", **{**capped, "values": {":cap": 2, ":one": 1}}
    )
    producer.publish(first, add, again, add, kept, over)
    consume(cluster, publisher, 6)
    ((_, item),) = items_of(cluster, orders).values()
    assert item["n"] == {"N": "2"}
    dead_letters = read_dead_letters(cluster.config.kafka)
    assert {dead_letter.letter_id for dead_letter in dead_letters} == {
        str(kept.command_id),
        str(over.command_id),
    }
    assert {dead_letter.reason for dead_letter in dead_letters} == {
        "The conditional request failed"
    }


def test_a_queued_update_that_only_removes_makes_no_item(
    cluster: Cluster, producer: Producer, publisher: Publisher
) -> None:
    plain = producer.queued_update("orders", KEY, remove=["a"])
    worded = producer.queued_update("orders", KEY, expression="REMOVE a.b")
    producer.publish(plain, worded, plain)
    consume(cluster, publisher, 3)
    assert applied(cluster) == 0
    assert everywhere(cluster, "SELECT refused FROM mynamo_applied") == [(None,), (None,)]
    assert read_dead_letters(cluster.config.kafka) == []


def test_a_queued_expression_is_checked_before_it_is_published(
    orders: Table, producer: Producer
) -> None:
    for slip in (
        producer.queued_update("orders", KEY, expression="SET a"),
        producer.queued_update("orders", KEY, expression="REMOVE id"),
        producer.queued_put("orders", KEY, condition="a = :undefined"),
        producer.queued_delete("orders", KEY, condition="a = b", names={"#unused": "x"}),
        producer.queued_put("orders", {**KEY, "price": "dear"}),
        producer.queued_put("orders", {**KEY, "x": "x" * 410_000}),
    ):
        with pytest.raises(InvalidRequest):
            producer.publish(slip)


def test_a_message_with_a_bad_expression_becomes_a_dead_letter(
    cluster: Cluster, orders: Table, producer: Producer, publisher: Publisher
) -> None:
    """Whoever publishes without this library may write anything."""
    good = on_partition_0(cluster, producer)
    bad = good.model_copy(update={"command_id": uuid.uuid4(), "condition_expression": "a ="})
    publisher.send([raw(cluster, bad.dump())])
    producer.publish(good)
    consume(cluster, publisher, 2)
    (dead_letter,) = read_dead_letters(cluster.config.kafka)
    assert dead_letter.letter_id == str(bad.command_id)
    assert "Invalid ConditionExpression: Syntax error" in dead_letter.reason
    assert len(items_of(cluster, orders)) == 1


def test_a_refused_command_stays_refused(
    cluster: Cluster, orders: Table, producer: Producer, publisher: Publisher
) -> None:
    """It must not take effect later, when its dead letter may have been dealt with."""
    producer.publish(producer.queued_update("orders", KEY, set={"x": 1}, condition=MUST_EXIST))
    consume(cluster, publisher, 1)
    producer.put("orders", KEY)
    with regrouped(cluster) as again:
        consume(again, publisher, 1)
    assert applied(cluster) == 1
    assert len(read_dead_letters(cluster.config.kafka)) == 1


@pytest.mark.parametrize("format_", [2, 3])
def test_ids_from_before_slots_could_be_moved_are_known_afterwards(
    cluster: Cluster, producer: Producer, publisher: Publisher, format_: int
) -> None:
    """They are kept as older processes look for them until `mynamo shard enable`."""
    as_earlier(cluster, format_)
    producer.publish(*interleaved(producer, items=2, each=5))
    consume(cluster, publisher, 10)
    assert everywhere(cluster, "SELECT * FROM mynamo_applied") == []
    assert len(everywhere(cluster, "SELECT * FROM mynamo_command")) == 10
    enable(cluster, lambda _: None, MOVES)
    producer.publish(*interleaved(producer, items=1, each=2))
    with regrouped(cluster) as again:
        consume(again, publisher, 12)
    assert applied(cluster) == 12
    assert len(everywhere(cluster, "SELECT * FROM mynamo_applied")) == 2
    assert len(everywhere(cluster, "SELECT * FROM mynamo_command")) == 10


def test_control_who_looks_for_one_form_alone_applies_them_again(
    cluster: Cluster, producer: Producer, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_earlier(cluster, 3)
    producer.publish(*interleaved(producer, items=2, each=5))
    consume(cluster, publisher, 10)
    enable(cluster, lambda _: None, MOVES)
    look_up = statements.look_up_commands
    by_slot_alone = "mynamo_command WHERE FALSE AND"

    def without(commands: Any) -> Statement:
        text, values = look_up(commands)
        return text.replace("mynamo_command WHERE", by_slot_alone), values

    monkeypatch.setattr(statements, "look_up_commands", without)
    with regrouped(cluster) as again:
        consume(again, publisher, 10)
    assert applied(cluster) == 20


def test_an_applied_command_is_no_refused_one_once_its_table_is_gone(
    cluster: Cluster, producer: Producer, publisher: Publisher
) -> None:
    """Nobody knows its slot any more, so it is looked for in all of them."""
    producer.publish(producer.queued_put("orders", KEY))
    consume(cluster, publisher, 1)
    definitions.drop_table(cluster, "orders")
    with regrouped(cluster) as again:
        consume(again, publisher, 1)
    assert read_dead_letters(cluster.config.kafka) == []


def test_ids_are_looked_for_by_their_whole_keys(engine_config: ClusterConfig) -> None:
    with Cluster(engine_config) as cluster:
        for shard in cluster.shards.values():
            rows = ", ".join(["(%s, %s, 1)"] * 2000)
            values = [v for n in range(2000) for v in (n % 2048, n.to_bytes(16))]
            shard.run(
                (f"INSERT INTO mynamo_applied (slot, command_id, done_at) VALUES {rows}", values),
                ("ANALYZE TABLE mynamo_applied", ()),
            )
            maria = "MariaDB" in shard.run(("SELECT VERSION()", ()))[0].rows[0][0]
            ids = {bytes(16): "", b"x" * 16: ""}
            several = [(number, number.to_bytes(16)) for number in range(40)]
            for text, given in (
                *refusals.applied_in_any_slot(cluster, shard.id, ids),
                statements.look_up_commands(several[:1]),
                statements.look_up_commands(several),
            ):
                kind = "EXPLAIN" if maria else "EXPLAIN FORMAT=TRADITIONAL"
                plan = shard.run((f"{kind} {text}", given))[0].rows
                found = [[str(cell) for cell in row] for row in plan]
                (of_ids,) = (row for row in found if "mynamo_applied" in row)
                assert {"18"} & set(of_ids), (text[:200], of_ids)  # a slot and an id


# -- dead letters ---------------------------------------------------------------------


def raw(cluster: Cluster, value: bytes | None) -> Message:
    return cluster.config.kafka.writes_topic, 0, b"key", value, []  # type: ignore[return-value]


def on_partition_0(cluster: Cluster, producer: Producer) -> WriteCommand:
    """A command that comes behind whatever is in partition 0."""
    for number in range(1000):
        command = producer.queued_put("orders", {"id": f"p{number}", "at": "1"})
        if command_message(cluster, command)[1] == 0:
            return command
    raise AssertionError("no item of partition 0")


def test_messages_that_cannot_be_applied_do_not_stop_the_queue(
    cluster: Cluster, orders: Table, producer: Producer, publisher: Publisher
) -> None:
    good = on_partition_0(cluster, producer)
    now = time.time_ns() // 1000
    strange = [
        b"\x00 not JSON",
        b"{}",
        None,
        good.model_copy(
            update={"command_id": uuid.uuid4(), "submitted_at": now - 8 * 86_400_000_000}
        ).dump(),
        good.model_copy(
            update={"command_id": uuid.uuid4(), "submitted_at": now + 2 * 86_400_000_000}
        ).dump(),
        good.model_copy(update={"command_id": uuid.uuid4(), "table": "nowhere"}).dump(),
        good.model_copy(update={"command_id": uuid.uuid4(), "item": {"id": {"S": "a"}}}).dump(),
        good.model_copy(update={"command_id": uuid.uuid4(), "item": {"id": {"Q": 1}}}).dump(),
    ]
    publisher.send([raw(cluster, value) for value in strange])
    producer.publish(good)
    consume(cluster, publisher, len(strange) + 1)
    assert len(items_of(cluster, orders)) == 1
    dead_letters = read_dead_letters(cluster.config.kafka)
    reasons = [dead_letter.reason for dead_letter in dead_letters]
    assert [
        dead_letter.message for dead_letter in sorted(dead_letters, key=lambda one: one.offset)
    ] == [value or b"" for value in strange]
    for words in ("not a write command", "8.0 days ago", "in the future", "nowhere not found",
                  "Missing the key at", "AttributeValue"):  # fmt: skip
        assert any(words in reason for reason in reasons), (words, reasons)
    assert [dead_letter.letter_id for dead_letter in dead_letters if dead_letter.offset == 0] == [
        f"{cluster.config.kafka.writes_topic}/0/0"
    ]


@pytest.mark.parametrize("noticed", [True, False], ids=["", "control"])
def test_a_command_of_a_newer_format_is_left_to_a_newer_writer(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    noticed: bool,
) -> None:
    """What comes before it is applied, what comes behind it waits too; nothing is a dead letter."""
    first = on_partition_0(cluster, producer)
    assert first.item is not None
    newer, last = (
        first.model_copy(
            update={"command_id": uuid.uuid4(), "item": {**first.item, "turn": {"N": turn}}}
        )
        for turn in "23"
    )
    future = b'{"format":2,' + newer.dump()[1:]
    publisher.send([raw(cluster, value) for value in (first.dump(), future, last.dump())])
    if not noticed:
        careless = partial(load, WriteCommand, what="a write command")
        monkeypatch.setattr(queue_module, "load_command", careless)
        consume(cluster, publisher, 3)
        assert len(read_dead_letters(cluster.config.kafka)) == 1
        return
    old = WriteQueue(cluster, publisher)
    try:
        eventually(lambda: step_told_to_upgrade(old) and applied(cluster), 60)
        eventually(lambda: step_told_to_upgrade(old), 60)  # each time that it reads it
    finally:
        old.close()
    assert applied(cluster) == 1
    monkeypatch.setattr(
        queue_module, "load_command", lambda m: load_command(m.replace(b'"format":2,', b""))
    )
    consume(cluster, publisher, 2)
    (item,) = (item for _, item in items_of(cluster, orders).values())
    assert item["turn"] == {"N": "3"}
    assert applied(cluster) == 3
    assert read_dead_letters(cluster.config.kafka) == []


def step_told_to_upgrade(queue: WriteQueue) -> bool:
    """Whether a step fails because of a newer format."""
    try:
        queue.step()
    except NewerFormat:
        return True
    return False


def read_carelessly(value: bytes) -> WriteCommand:
    command = load_command(value)
    if command.table == "other":
        raise RuntimeError("a mistake")
    return command


def prepare_carelessly(cluster: Cluster, request: WriteRequest, table: Table, *slots: Any) -> Write:
    if table.name == "other":
        raise RuntimeError("a mistake")
    return prepare(cluster, request, table, *slots)


def evaluate_carelessly(write: Write, current: Current) -> StoredItem | None:
    if write.table.name == "other":
        raise RuntimeError("a mistake")
    return apply_to(write, current)


CARELESS = [
    (queue_module, "load_command", read_carelessly),
    (routing, "prepare", prepare_carelessly),
    (evaluation, "apply_to", evaluate_carelessly),
]


@pytest.mark.parametrize(("module", "name", "careless"), CARELESS)
def test_what_nobody_foresaw_becomes_a_dead_letter(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    careless: Any,
) -> None:
    make_table(cluster, "other")
    producer.publish(producer.queued_put("other", KEY))
    producer.publish(producer.queued_put("orders", KEY))
    monkeypatch.setattr(module, name, careless)
    consume(cluster, publisher, 2)
    assert [letter.reason for letter in read_dead_letters(cluster.config.kafka)] == [
        str(InternalError())
    ]
    assert len(items_of(cluster, orders)) == 1


def test_control_otherwise_the_queue_stops_at_it(
    cluster: Cluster,
    producer: Producer,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_table(cluster, "other")
    producer.publish(producer.queued_put("other", KEY))
    monkeypatch.setattr(routing, "prepare", prepare_carelessly)
    known = tuple(kind for kind in queue_module._REFUSALS if kind is not InternalError)
    monkeypatch.setattr(queue_module, "_REFUSALS", known)
    for _ in range(2):
        with pytest.raises(InternalError):
            consume(cluster, publisher, 1)


def test_dead_letters_that_come_again_are_listed_once(
    cluster: Cluster, orders: Table, producer: Producer, publisher: Publisher
) -> None:
    publisher.send([raw(cluster, b"poison"), raw(cluster, b"more poison")])
    consume(cluster, publisher, 2)
    with regrouped(cluster) as again:
        consume(again, publisher, 2)
    dead_letters = read_dead_letters(cluster.config.kafka)
    assert [dead_letter.message for dead_letter in dead_letters] == [b"poison", b"more poison"]
    assert read_dead_letters(cluster.config.kafka, limit=1) == dead_letters[1:]


def test_a_damaged_item_costs_only_its_own_commands(
    cluster: Cluster, orders: Table, producer: Producer, publisher: Publisher
) -> None:
    producer.put("orders", KEY)
    for shard in cluster.shards.values():
        shard.run((f"UPDATE t{orders.id} SET item = 'damaged'", ()))
    hit = producer.queued_update("orders", KEY, set={"x": 1})
    producer.publish(*interleaved(producer, 5, 2), hit, *interleaved(producer, 5, 1))
    consume(cluster, publisher, 16)
    (dead_letter,) = read_dead_letters(cluster.config.kafka)
    assert dead_letter.letter_id == str(hit.command_id)
    assert applied(cluster) == 1 + 15


# -- servers that do not answer -------------------------------------------------------


def test_a_shard_that_does_not_answer_is_waited_for(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands = interleaved(producer, items=3, each=6)
    producer.publish(*commands)
    calls = Counter[bool]()

    def failing(*arguments: Any) -> Any:
        broken = sum(calls.values()) % 3 != 2
        calls[broken] += 1
        if broken:
            raise ShardUnavailable
        return apply_each(*arguments)

    monkeypatch.setattr(queue_module, "apply_each", failing)
    queue = WriteQueue(cluster, publisher)

    def try_again() -> bool:
        with suppress(ShardUnavailable):
            queue.step()
        return applied(cluster) == len(commands)

    eventually(try_again, 60)
    queue.close()
    assert calls[True] > 2
    assert histories(cluster, orders) == {f"i{n}": [str(t) for t in range(6)] for n in range(3)}
    assert read_dead_letters(cluster.config.kafka) == []


@pytest.mark.parametrize("apart", [True, False])
def test_partitions_without_commands_for_a_shard_that_is_away_go_on(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    apart: bool,
) -> None:
    """And each item's commands keep their order. The control has a failure end the whole batch."""
    commands = interleaved(producer, items=12, each=4)
    shards = {c.command_id: queue_module.shard_of(cluster, command_request(c)) for c in commands}
    messages = {c.command_id: command_message(cluster, c) for c in commands}
    commit_on = group_commit.commit_with_others

    def but_2(of: Cluster, shard: DynamoDBShard, writes: Any) -> Any:
        if shard.id == 2:
            raise ShardUnavailable("gone")
        return commit_on(of, shard, writes)

    queue = WriteQueue(cluster, publisher)
    with monkeypatch.context() as broken:
        broken.setattr(routing, "commit_with_others", but_2)
        if not apart:
            broken.setattr(queue_module, "apply_each", apply)
        # A partition for each shard.
        publisher.send([
            (topic, shards[i] or 0, key, value, headers)
            for i, (topic, _, key, value, headers) in messages.items()
        ])  # fmt: skip
        here = [i for i, shard in shards.items() if shard == 1]
        attempts = 0

        def done() -> bool:
            nonlocal attempts
            attempts += 1
            with suppress(ShardUnavailable):
                queue.step()
            return applied(cluster) == len(here)

        eventually(done, 60)
        offsets = {
            shard: queue._consumer.committed(
                TopicPartition(cluster.config.kafka.writes_topic, shard)
            )
            for shard in (1, 2)
        }
        assert bool(offsets[1]) is apart
        assert not offsets[2]

    def all_done() -> bool:
        queue.step()
        return applied(cluster) == len(commands)

    eventually(all_done, 60)
    queue.close()
    assert histories(cluster, orders) == {f"i{n}": [str(t) for t in range(4)] for n in range(12)}
    assert read_dead_letters(cluster.config.kafka) == []


@pytest.mark.parametrize("lowest", [True, False])
def test_a_command_waits_though_a_later_one_of_its_partition_waits_already(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    lowest: bool,
) -> None:
    """The control keeps the first place that was noted for a partition."""
    commands = interleaved(producer, items=12, each=1)
    shards = [queue_module.shard_of(cluster, command_request(c)) for c in commands]
    first, then = (commands[shards.index(number)] for number in (1, 2))

    def gone(*_: Any) -> Any:
        raise ShardUnavailable("gone")

    queue = WriteQueue(cluster, publisher)
    messages = [command_message(cluster, each) for each in (first, then)]
    publisher.send([(t, 0, key, value, headers) for t, _, key, value, headers in messages])
    with monkeypatch.context() as broken:
        broken.setattr(routing, "commit_with_others", gone)
        broken.setattr(queue._away, "back", set)
        if not lowest:
            broken.setattr(
                queue_module, "_hold",
                lambda held, record, shard: held.setdefault(
                    queue_module._place(record), (record.offset, shard)
                ),
            )  # fmt: skip
        queue._away.note(2, ShardUnavailable("gone before"))

        def tried() -> bool:
            queue.step()
            return bool(queue._held)

        eventually(tried, 60)
    dead_letters = read_dead_letters(cluster.config.kafka)
    assert ([each.letter_id for each in dead_letters] == []) is lowest

    def all_done() -> bool:
        queue.step()
        return applied(cluster) == 2

    if lowest:
        eventually(all_done, 60)
    queue.close()


def test_remembered_commands_are_forgotten_only_when_they_cannot_come_again(
    cluster: Cluster, orders: Table, producer: Producer, publisher: Publisher
) -> None:
    producer.publish(*interleaved(producer, items=4, each=1))
    consume(cluster, publisher, 4)
    command_count = "SELECT COUNT(*) FROM mynamo_applied"

    def grow_older(days: float) -> int:
        for shard in cluster.shards.values():
            shard.run(
                ("UPDATE mynamo_applied SET done_at = done_at - %s", (round(days * DAY * 1e6),))
            )
        Maintenance(cluster).round()
        return int(sum(row[0] for row in everywhere(cluster, command_count)))

    assert grow_older(8.5) == 4
    assert grow_older(1.0) == 0


def consume_while_creating(
    cluster: Cluster, producer: Producer, publisher: Publisher
) -> tuple[WriteQueue, int]:
    """A write that was queued for a table of the same name arrives while a new one is created.

    Returns:
        The queue, and how many writes it was done with before the table was ready.
    """
    producer.publish(producer.queued_put("orders", KEY))
    definitions.drop_table(cluster, "orders")
    schema = TableSchema.parse({"name": "orders", "hash_key": "id", "sort_key": "at"})
    definitions.begin_table(cluster, schema)
    queue = WriteQueue(cluster, publisher)
    done, waits = 0, list[str]()
    while len(waits) < 3 and not done:
        try:
            done += queue.step()
        except Unavailable as failure:
            waits.append(str(failure))
    assert all("CREATING" in reason for reason in waits)
    return queue, done


def test_a_queued_write_waits_for_a_table_that_is_being_created(
    cluster: Cluster, producer: Producer, publisher: Publisher
) -> None:
    queue, done = consume_while_creating(cluster, producer, publisher)
    assert done == 0
    roll_forward(cluster, cluster.snapshot.names["orders"].id)
    eventually(lambda: queue.step() == 1, 60)
    queue.close()
    assert len(items_of(cluster, cluster.table("orders"))) == 1
    assert read_dead_letters(cluster.config.kafka) == []


def test_control_where_it_does_not_wait_the_write_is_a_dead_letter(
    cluster: Cluster,
    producer: Producer,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue_module, "TableNotReady", IndexNotFound)
    queue, done = consume_while_creating(cluster, producer, publisher)
    queue.close()
    assert done == 1
    [letter] = read_dead_letters(cluster.config.kafka)
    assert "CREATING" in letter.reason


OLD_COMMANDS = 10_000


def remember_old_commands(cluster: Cluster) -> None:
    for shard in cluster.shards.values():
        shard.run(
            ("INSERT INTO mynamo_applied (slot, command_id, done_at) VALUES "
             + ", ".join(["(1, %s, 1)"] * OLD_COMMANDS),
             [number.to_bytes(16) for number in range(OLD_COMMANDS)])
        )  # fmt: skip


def forget(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    """Forget old commands, with so much time for a batch and for a round; how many each
    transaction forgot."""
    forgotten: list[int] = []
    run = DynamoDBShard.run

    def noting(self: DynamoDBShard, *statements: Statement) -> list[Result]:
        results = run(self, *statements)
        if statements[0][0].startswith("DELETE FROM mynamo_applied"):
            forgotten.append(results[0].count)
        return results

    with monkeypatch.context() as patched:
        patched.setattr(maintenance, "_PURGE_BATCH_SECONDS", seconds)
        patched.setattr(maintenance, "_PURGE_SECONDS", seconds)
        patched.setattr(DynamoDBShard, "run", noting)
        Maintenance(cluster).round()
    return forgotten


def test_one_round_forgets_as_many_commands_as_there_are_in_batches_that_grow(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember_old_commands(cluster)
    forgotten = forget(cluster, monkeypatch, 3_600.0)
    assert sum(forgotten) == len(cluster.shards) * OLD_COMMANDS
    assert len(forgotten) <= len(cluster.shards) * 6  # 500, 1000, 2000, 4000, the rest, perhaps 0


def test_control_where_deleting_is_slow_a_round_forgets_few_commands_and_comes_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember_old_commands(cluster)
    assert forget(cluster, monkeypatch, 0.0) == [500] * len(cluster.shards)


# -- another topic of the same name ---------------------------------------------------


def publish_interleaved(producer: Producer, first: int, count: int) -> None:
    for number in range(first, first + count):
        producer.publish(producer.queued_put("orders", KEY | {"n": number}))


def apply_until(cluster: Cluster, queue: WriteQueue, writes: int) -> None:
    eventually(lambda: queue.step() >= 0 and applied(cluster) == writes)
    queue.step()
    assert applied(cluster) == writes


def commit_offset(kafka: KafkaConfig, offset: int, of_topic: str | None) -> str:
    """Commit an offset for the partition that holds the queued writes.

    Args:
        of_topic: the id of the topic it is said to be of; None: of the one that is there.

    Returns:
        The id of the topic that is there.
    """
    consumer = open_consumer(kafka, kafka.writer_group)
    try:
        places = [TopicPartition(kafka.writes_topic, n)
                  for n in consumer.partitions_for_topic(kafka.writes_topic)]  # fmt: skip
        there = identity(consumer, kafka.writes_topic)
        (place,) = [place for place, end in consumer.end_offsets(places).items() if end]
        noted = OffsetAndMetadata(offset, there if of_topic is None else of_topic, -1)
        consumer.assign([place])
        consumer.commit({place: noted})
        return there
    finally:
        consumer.close()


@pytest.mark.parametrize(("of_topic", "writes"), [("another", 9), ("", 9), (None, 6)])
def test_an_offset_of_another_topic_is_not_believed(
    cluster: Cluster, producer: Producer, publisher: Publisher, of_topic: str | None, writes: int
) -> None:
    publish_interleaved(producer, 0, 9)
    assert commit_offset(cluster.config.kafka, 3, of_topic)
    queue = WriteQueue(cluster, publisher)
    apply_until(cluster, queue, writes)
    queue.close()
    if writes == 9:  # now it is of this one
        publish_interleaved(producer, 9, 1)
        again = WriteQueue(cluster, publisher)
        done = eventually(again.step)
        again.close()
        assert done == 1


@pytest.mark.parametrize("lost", [1, 100])
def test_offsets_that_were_not_committed_are_committed_later(
    cluster: Cluster, producer: Producer, publisher: Publisher, monkeypatch: pytest.MonkeyPatch,
    lost: int,
) -> None:  # fmt: skip
    """Though no other message comes. The control: where none is committed, all comes again."""
    publish_interleaved(producer, 0, 3)
    queue = WriteQueue(cluster, publisher)
    queue._open()
    commit_, failures = queue._consumer.commit, [True] * lost

    def failing(*given: Any, **more: Any) -> None:
        if failures:
            failures.pop()
            raise KafkaError("the connection was lost")
        commit_(*given, **more)

    monkeypatch.setattr(queue._consumer, "commit", failing)
    apply_until(cluster, queue, 3)
    queue.step()
    queue.close()
    again = WriteQueue(cluster, publisher)
    try:
        done = sum(again.step() for _ in range(6))
    finally:
        again.close()
    assert done == (3 if failures else 0)


@pytest.mark.parametrize("noticed", [True, False])
def test_a_consumer_that_learns_of_another_topic_begins_again(
    cluster: Cluster, producer: Producer, publisher: Publisher, monkeypatch: pytest.MonkeyPatch,
    noticed: bool,
) -> None:  # fmt: skip
    publish_interleaved(producer, 0, 9)
    commit_offset(cluster.config.kafka, 3, "another")
    queue = WriteQueue(cluster, publisher)
    with monkeypatch.context() as before:
        before.setattr(queue_module, "identity", lambda *_: "another")
        apply_until(cluster, queue, 6)
        if not noticed:  # the control: as a consumer that compares nothing
            queue.step()
            assert applied(cluster) == 6
    if noticed:
        apply_until(cluster, queue, 9)
    queue.close()


def test_a_topic_that_was_deleted_and_made_anew_is_read_from_its_beginning(
    cluster: Cluster, producer: Producer, publisher: Publisher
) -> None:
    kafka = cluster.config.kafka
    queue = WriteQueue(cluster, publisher)
    publish_interleaved(producer, 0, 3)
    apply_until(cluster, queue, 3)
    admin = open_admin(kafka)
    admin.delete_topics([kafka.writes_topic])
    eventually(lambda: kafka.writes_topic not in admin.list_topics())
    admin.close()
    ensure_topics(kafka)
    publish_interleaved(producer, 3, 6)
    apply_until(cluster, queue, 9)
    queue.close()
