"""`mynamo.events.Consumer`: each change once, whatever relays send and whoever begins again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Table
from mynamo.errors import InvalidRequest, LogUnavailable, NewerFormat
from mynamo.events import Consumer, changes_consumer
from mynamo.log import open_consumer
from mynamo.log.kafka_types import TopicPartition
from mynamo.operations import repair
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.events import ChangeEvent, load_event
from mynamo.schemas.item_changes import Change
from tests.rows import everywhere, make_table
from tests.waiting import eventually
from tests.workers import pipeline

ITEMS = 12


@pytest.fixture
def writer(config: ClusterConfig, cluster: Cluster, orders: Table) -> Iterator[Producer]:
    """Of a cluster whose workers are at work."""
    with pipeline(config), Producer(cluster) as producer:
        yield producer


def write(producer: Producer, price: int, table: str = "orders") -> None:
    for number in range(ITEMS):
        producer.put(table, {"id": f"i{number}", "at": "1", "price": price, "name": "n"})


def read(consumer: Consumer, count: int, more_for: float = 1.0) -> list[Change]:
    """So many changes, and what else comes for some time."""
    found: list[Change] = []
    while len(found) < count:
        some = consumer.poll(30.0)
        assert some, f"nothing comes behind {len(found)} changes"
        found += some
    return found + consumer.poll(more_for)


def prices(changes: list[Change]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for change in changes:
        found.setdefault(change.keys["id"], []).append(change.new and int(change.new["price"]))
    return found


def all_prices(*expected: int | None) -> dict[str, list[int | None]]:
    return {f"i{number}": list(expected) for number in range(ITEMS)}


def send_again(cluster: Cluster) -> None:
    """As relays do that died before they noted what they had sent."""
    noted = "SELECT published_seq = last_seq FROM mynamo_relay"
    eventually(lambda: set(everywhere(cluster, noted)) == {(1,)})
    everywhere(cluster, "UPDATE mynamo_relay SET published_seq = 0")


def test_each_change_comes_once_in_its_order(
    config: ClusterConfig, cluster: Cluster, writer: Producer
) -> None:
    make_table(cluster, "others")
    with Consumer(config, tables=["orders"]) as consumer:
        write(writer, 1)
        write(writer, 1)  # which changes nothing
        write(writer, 2)
        write(writer, 9, "others")
        send_again(cluster)
        for number in range(ITEMS):
            writer.delete("orders", {"id": f"i{number}", "at": "1"})
        send_again(cluster)
        found = read(consumer, 3 * ITEMS)
        assert prices(found) == all_prices(1, 2, None)
        send_again(cluster)
        assert consumer.poll(1.5) == []
        write(writer, 3)
        assert prices(read(consumer, ITEMS)) == all_prices(3)
    assert {change.table for change in found} == {"orders"}
    assert [change.event for change in found].count("REMOVE") == ITEMS
    of_one = [change for change in found if change.keys["id"] == "i0"]
    numbers = [int(change.sequence_number) for change in of_one]
    assert numbers == sorted(set(numbers))
    assert [change.old for change in of_one[1:]] == [change.new for change in of_one[:-1]]


def test_negative_control_without_the_numbers_changes_come_again(
    config: ClusterConfig, cluster: Cluster, writer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Consumer, "_is_new", lambda self, event, partition: True)
    with Consumer(config) as consumer:
        write(writer, 1)
        found = read(consumer, ITEMS, 0)

        def again() -> bool:
            send_again(cluster)
            found.extend(consumer.poll(2.0))
            return len(found) > ITEMS

        eventually(again, 60)


def test_a_new_incarnation_gives_other_numbers_to_what_was_there(
    config: ClusterConfig, cluster: Cluster, writer: Producer
) -> None:
    with Consumer(config) as consumer:
        write(writer, 1)
        assert prices(read(consumer, ITEMS)) == all_prices(1)
        for shard in cluster.shards.values():
            # As if indexes had applied nothing of it.
            shard.run(("UPDATE mynamo_stream SET applied_seq = 0", ()))
            shard.adopt(1)
        write(writer, 2)
        assert prices(read(consumer, ITEMS)) == all_prices(2)


def test_repairs_are_no_changes(config: ClusterConfig, cluster: Cluster, writer: Producer) -> None:
    with Consumer(config) as consumer:
        write(writer, 1)
        read(consumer, ITEMS)
        index = cluster.table("orders").global_indexes[0]
        everywhere(cluster, f"DELETE FROM t{index.table_id}_g{index.id}")
        assert repair(cluster, "orders").verdict.ok is False
        assert consumer.poll(1.0) == []


def test_positions_of_ones_own(config: ClusterConfig, cluster: Cluster, writer: Producer) -> None:
    with Consumer(config) as consumer:
        write(writer, 1)
        read(consumer, ITEMS)
        kept = consumer.positions
        with pytest.raises(InvalidRequest, match="positions"):
            consumer.commit()
    write(writer, 2)
    send_again(cluster)
    with Consumer(config, start=kept) as consumer:
        assert prices(read(consumer, ITEMS)) == all_prices(2)
    with Consumer(config) as consumer:
        assert prices(read(consumer, 2 * ITEMS)) == all_prices(1, 2)
    with Consumer(config, start="latest") as consumer:
        assert consumer.poll(0.5) == []
        write(writer, 3)
        assert prices(read(consumer, ITEMS)) == all_prices(3)
    with pytest.raises(InvalidRequest, match="leave out"):
        Consumer(config, start=kept, group="g")


def test_a_group_goes_on_where_it_has_committed(
    config: ClusterConfig, cluster: Cluster, writer: Producer
) -> None:
    group = f"{config.kafka.changes_topic}.consumers"
    write(writer, 1)
    with Consumer(config, group=group) as consumer:
        first = []
        for change in islice(consumer, 5):
            first.append(change)
            consumer.commit()
    send_again(cluster)
    write(writer, 2)
    with Consumer(config, group=group) as consumer:
        rest = read(consumer, 2 * ITEMS - 5)
        consumer.commit()
    assert prices(first + rest) == all_prices(1, 2)
    write(writer, 3)
    with Consumer(config, group=group) as consumer:
        assert prices(read(consumer, ITEMS)) == all_prices(3)


def test_consumers_of_a_group_share_the_partitions(
    config: ClusterConfig, cluster: Cluster, writer: Producer
) -> None:
    group = f"{config.kafka.changes_topic}.sharing"
    with Consumer(config, group=group) as one:
        write(writer, 1)
        found = read(one, ITEMS)
        one.commit()
        with Consumer(config, group=group) as other:
            while not other.positions:  # until it has its share
                found += one.poll(0.2) + other.poll(0.2)
            write(writer, 2)
            shares: list[list[Change]] = [[], []]
            while sum(map(len, shares)) < ITEMS:
                shares[0] += one.poll(0.2)
                shares[1] += other.poll(0.2)
            assert all(shares)
    assert prices(found) == all_prices(1)
    assert prices(shares[0] + shares[1]) == all_prices(2)


def test_changes_that_were_given_do_not_come_again_when_others_of_the_group_come_and_go(
    config: ClusterConfig, cluster: Cluster, writer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = f"{config.kafka.changes_topic}.going"
    read_by: list[Consumer] = []  # of each message
    is_new = Consumer._is_new

    def look(self: Consumer, event: ChangeEvent, partition: int) -> bool:
        read_by.append(self)
        return is_new(self, event, partition)

    with Consumer(config, group=group) as one:
        write(writer, 1)
        assert prices(read(one, ITEMS)) == all_prices(1)
        given = one.positions
        monkeypatch.setattr(Consumer, "_is_new", look)
        with Consumer(config, group=group) as other:
            # Until it has its share, of which nothing was committed.
            eventually(lambda: (one.poll(0.2) == []) is bool(other.poll(0.2)))
        eventually(lambda: one.poll(0.2) == [] and one.positions == given)
        assert one.poll(1.0) == []
        assert one not in read_by  # it went on from its own place
        one.commit()
    write(writer, 2)
    with Consumer(config, group=group) as next_one:
        assert prices(read(next_one, ITEMS)) == all_prices(2)


def test_what_came_before_a_message_that_cannot_be_read_is_given(
    config: ClusterConfig, writer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(writer, 1)
    seen: list[bytes] = []

    def load(data: bytes) -> ChangeEvent:
        seen.append(data)
        if len(seen) in (6, 7):  # and when it is tried again
            raise NewerFormat("of a later release")
        return load_event(data)

    monkeypatch.setattr(changes_consumer, "load_event", load)
    with Consumer(config) as consumer:
        found: list[Change] = []
        while len(seen) < 6:
            found += consumer.poll(0.5)
        assert len(found) == 5
        with pytest.raises(NewerFormat):
            consumer.poll(0.5)
        found += read(consumer, ITEMS - 5)
    assert prices(found) == all_prices(1)


def test_what_was_fetched_when_kafka_did_not_answer_comes_again(
    config: ClusterConfig, writer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    entering = Consumer._enter
    failed: list[Any] = []

    def enter(self: Consumer, place: Any, polled: Any) -> None:
        if polled and not failed:
            failed.append(place)
            raise LogUnavailable("for a moment")
        entering(self, place, polled)

    write(writer, 1)
    monkeypatch.setattr(Consumer, "_enter", enter)
    found: list[Change] = []
    with Consumer(config, group=f"{config.kafka.changes_topic}.failing") as consumer:
        while len(found) < ITEMS:
            with suppress(LogUnavailable):
                found += consumer.poll(5.0)
    assert prices(found) == all_prices(1)


@pytest.mark.parametrize("in_group", [False, True])
def test_latest_is_kept_of_partitions_without_a_change_too(
    config: ClusterConfig, writer: Producer, in_group: bool
) -> None:
    group = f"{config.kafka.changes_topic}.quiet" if in_group else None
    write(writer, 1)
    with Consumer(config) as before:
        read(before, ITEMS)
    with Consumer(config, group=group, start="latest") as consumer:
        eventually(lambda: consumer.poll(0.2) or len(consumer.positions) == config.kafka.partitions)
        if in_group:
            consumer.commit()
        kept = consumer.positions
    write(writer, 2)
    with Consumer(config, group=group, start="latest" if in_group else kept) as consumer:
        assert prices(read(consumer, ITEMS)) == all_prices(2)


def test_cloud_events(config: ClusterConfig, cluster: Cluster, orders: Table) -> None:
    told = config.model_copy(
        update={"kafka": config.kafka.model_copy(update={"cloud_events": True})}
    )
    with pipeline(told), Producer(cluster) as producer, Consumer(config) as consumer:
        write(producer, 1)
        assert len(read(consumer, ITEMS)) == ITEMS
    reading = open_consumer(config.kafka, None)
    topic = config.kafka.changes_topic
    reading.assign([TopicPartition(topic, number) for number in range(config.kafka.partitions)])
    records = [record for some in reading.poll(5000).values() for record in some]
    reading.close()
    assert records
    for record in records:
        headers = {name: value.decode() for name, value in record.headers}
        assert headers["ce_specversion"] == "1.0"
        assert headers["ce_id"] == headers["event_id"]
        assert headers["ce_source"].startswith("/mynamo/")
        assert headers["ce_source"].endswith(f"/shards/{headers['shard']}")
        assert headers["ce_type"] == "mynamo.item.insert"
        assert headers["ce_subject"] == "orders"
        assert headers["ce_time"].endswith("Z")
        assert headers["content-type"] == "application/json"
