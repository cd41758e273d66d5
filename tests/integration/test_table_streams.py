"""Streams: which changes have records, what they show, and how they are read."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mynamo.catalog import definitions, stream_shards, table_streams
from mynamo.catalog import roll_forward as roll_forward_module
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.enabling import STREAMS, enable
from mynamo.catalog.stream_lineage import StreamShard
from mynamo.catalog.tables import Table
from mynamo.errors import (
    InvalidRequest,
    InvalidToken,
    IteratorExpired,
    RecordsTrimmed,
    ShardUnavailable,
    StreamNotFound,
    StreamShardNotFound,
    TableNotFound,
)
from mynamo.local.state import config_toml
from mynamo.manager import HashBasedShardManager
from mynamo.mysql.pool import Session, Statement
from mynamo.operations import repair
from mynamo.producer import Delete, Producer, Put
from mynamo.reader.streams import pages, stream_reader
from mynamo.reader.streams.follower import StreamFollower
from mynamo.reader.streams.positions import dump_iterator, parse_iterator
from mynamo.reader.streams.stream_reader import StreamReader
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import TableSchema
from mynamo.schemas.table_settings import StreamView
from mynamo.writer.backfill.re_emit import re_emit
from mynamo.writer.outbox import batches
from mynamo.writer.outbox.trimming import RecordTrimmer
from mynamo.writer.worker import run_writer
from tests.commands import run
from tests.earlier_process import EarlierProcess
from tests.faults.releases import FORMAT_5, check_out, why_no_release
from tests.following import (
    by_item,
    number_all,
    read_all,
    recorded,
    relay_of,
    shards_of,
    stream_of,
    told,
    with_stream,
)
from tests.members import FIRST, LAST, give_slots
from tests.proxy import Proxy
from tests.rows import as_earlier, everywhere, make_table
from tests.waiting import eventually
from tests.workers import working


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


def item(id_: str, price: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": id_, "at": "1", "price": price, "name": "n", **more}


KEY = {"id": {"S": "a"}, "at": {"S": "1"}}


# -- which changes have records ----------------------------------------------------------------


def test_each_change_has_its_record(cluster: Cluster, orders: Table, producer: Producer) -> None:
    producer.put("orders", item("before"))
    stream = with_stream(cluster)
    producer.put("orders", item("a"))
    producer.put("orders", item("a", 2))
    producer.update("orders", {"id": "a", "at": "1"}, expression="SET price = :p", values={":p": 3})
    producer.delete("orders", {"id": "a", "at": "1"})
    producer.delete("orders", {"id": "before", "at": "1"})
    records = recorded(cluster, stream)
    assert by_item(records) == {"a": [1, 2, 3, None], "before": [None]}
    of_a = [record for record in records if record.keys == KEY]
    assert [record.name for record in of_a] == ["INSERT", "MODIFY", "MODIFY", "REMOVE"]
    assert [record.old for record in of_a[1:]] == [record.new for record in of_a[:-1]]
    assert of_a[0].old is None
    numbers = [int(record.sequence_number) for record in of_a]
    assert numbers == sorted(set(numbers))
    assert all(21 <= len(record.sequence_number) <= 40 for record in of_a)
    assert all(abs(record.created / 1e6 - time.time()) < 60 for record in of_a)


def test_what_changes_nothing_has_no_record(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    stream = with_stream(cluster)
    key = {"id": "a", "at": "1"}
    producer.put("orders", item("a", tags={"x", "y"}))
    producer.put("orders", item("a", tags={"y", "x"}))
    producer.update("orders", key, expression="SET price = :p", values={":p": 1})
    producer.update("orders", key, expression="REMOVE nothing")
    producer.delete("orders", {"id": "none", "at": "1"})
    producer.update("orders", {"id": "none", "at": "1"}, expression="REMOVE nothing")
    producer.write_batch([Put("orders", item("a", tags={"x", "y"})), Put("orders", item("b"))])
    assert sorted(told(recorded(cluster, stream))) == [("INSERT", "a"), ("INSERT", "b")]


@pytest.mark.parametrize(
    ("view", "new", "old"),
    [
        ("KEYS_ONLY", False, False),
        ("NEW_IMAGE", True, False),
        ("OLD_IMAGE", False, True),
        ("NEW_AND_OLD_IMAGES", True, True),
    ],
)
def test_a_record_shows_what_the_view_type_says(
    cluster: Cluster, orders: Table, producer: Producer, view: StreamView, new: bool, old: bool
) -> None:
    stream = with_stream(cluster, view=view)
    producer.put("orders", item("a"))
    producer.put("orders", item("a", 2))
    producer.delete("orders", {"id": "a", "at": "1"})
    records = recorded(cluster, stream)
    assert [record.new is not None for record in records] == [new, new, False]
    assert [record.old is not None for record in records] == [False, old, old]
    assert all(record.keys == KEY for record in records)
    sizes = {"keys": 2 + 1 + 2 + 1, "image": 2 + 1 + 2 + 1 + 5 + 2 + 4 + 1}
    assert [record.size for record in records] == [
        sizes["keys"] + new * sizes["image"],
        sizes["keys"] + (new + old) * sizes["image"],
        sizes["keys"] + old * sizes["image"],
    ]


def test_repairs_have_no_records(cluster: Cluster, orders: Table, producer: Producer) -> None:
    stream = with_stream(cluster)
    producer.put("orders", item("a"))
    number_all(cluster)
    found = repair(cluster, "orders", wait=0.0)  # the GSI has nothing of it
    assert found is not None
    assert told(recorded(cluster, stream)) == [("INSERT", "a")]


def test_transactions_have_records(cluster: Cluster, orders: Table, producer: Producer) -> None:
    stream = with_stream(cluster)
    producer.put("orders", item("gone"))
    names = [f"i{number}" for number in range(20)]  # on both shards
    writes: list[Any] = [Put("orders", item(name)) for name in names]
    producer.transact([*writes, Delete("orders", {"id": "gone", "at": "1"})])
    found = told(recorded(cluster, stream))
    assert sorted(found) == sorted(
        [("INSERT", "gone"), ("REMOVE", "gone"), *(("INSERT", name) for name in names)]
    )


def test_large_items_have_records(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_BYTES", 300_000)
    stream = with_stream(cluster)
    for number in range(12):
        producer.put("orders", item(f"i{number % 3}", number, text="x" * 100_000))
        producer.put("orders", item(f"small{number}", number))
    records = recorded(cluster, stream)
    found = by_item(records)
    assert [found[f"i{number}"] for number in range(3)] == [
        list(range(number, 12, 3)) for number in range(3)
    ]
    assert len(found) == 15
    assert len(records) == 24


def test_a_new_table_may_have_a_stream(cluster: Cluster, producer: Producer) -> None:
    definitions.create_table(
        cluster, TableSchema.parse({"name": "events", "hash_key": "id"}), stream="NEW_IMAGE"
    )
    stream = stream_of(cluster, "events")
    assert (stream.status, stream.view) == ("ENABLED", "NEW_IMAGE")
    producer.put("events", {"id": "a"})
    assert told(recorded(cluster, stream)) == [("INSERT", "a")]


def test_writes_that_know_no_stream_begin_again(
    cluster: Cluster, other: Cluster, orders: Table
) -> None:
    with Producer(other) as behind:
        behind.put("orders", item("before"))
        stream = with_stream(cluster)
        behind.put("orders", item("a"))
    assert told(recorded(cluster, stream)) == [("INSERT", "a")]


def test_rows_with_and_without_records_are_numbered_in_the_order_of_their_ids(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_ROWS", 3)
    make_table(cluster, "plain", local_indexes=[], global_indexes=[])
    stream = with_stream(cluster)
    for number in range(30):
        producer.put("orders" if number % 3 else "plain", item(f"i{number}"))
    assert len(recorded(cluster, stream)) == 20
    for shard in cluster.shards.values():
        rows = shard.run(("SELECT id, seq FROM mynamo_outbox ORDER BY id", ()))[0].rows
        assert [seq for _, seq in rows] == list(range(1, len(rows) + 1))


# -- enabling and disabling --------------------------------------------------------------------


def test_a_stream_is_enabled_once(cluster: Cluster, orders: Table) -> None:
    stream = with_stream(cluster)
    with pytest.raises(InvalidRequest, match="already"):
        with_stream(cluster, view="KEYS_ONLY")
    assert stream_of(cluster) == stream
    with pytest.raises(TableNotFound):
        with_stream(cluster, "missing")
    with pytest.raises(InvalidRequest, match="view type"):
        table_streams.enable(cluster, "orders", "ALL")  # type: ignore[arg-type]
    with pytest.raises(StreamNotFound):
        stream_of(cluster, "missing")


def test_a_disabled_stream_can_be_read_to_its_end(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    stream = with_stream(cluster)
    producer.put("orders", item("a"))
    follower = StreamFollower(StreamReader(cluster), stream)
    table_streams.disable(cluster, "orders")
    producer.put("orders", item("b"))
    with pytest.raises(InvalidRequest, match="no stream"):
        table_streams.disable(cluster, "orders")
    rounds = table_streams.StreamRounds(cluster)
    rounds.round()  # nothing has its number yet
    assert any(each.is_open for each in shards_of(cluster, stream))
    number_all(cluster)
    rounds.round()
    assert stream_of(cluster).status == "DISABLED"
    assert not any(each.is_open for each in shards_of(cluster, stream))
    assert told(list(follower.records())) == [("INSERT", "a")]
    assert follower.is_over


def test_a_stream_that_is_enabled_again_is_another_one(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    first = with_stream(cluster)
    producer.put("orders", item("a"))
    table_streams.disable(cluster, "orders")
    second = with_stream(cluster, view="KEYS_ONLY")
    producer.put("orders", item("b"))
    assert (first.id, first.label) != (second.id, second.label)
    number_all(cluster)
    table_streams.StreamRounds(cluster).round()
    assert told(read_all(cluster, first)) == [("INSERT", "a")]
    assert told(read_all(cluster, second)) == [("INSERT", "b")]
    assert [one.id for one in StreamReader(cluster).streams("orders")] == [first.id, second.id]


def test_the_stream_of_a_dropped_table_can_be_read(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    stream = with_stream(cluster)
    producer.put("orders", item("a"))
    definitions.drop_table(cluster, "orders")
    number_all(cluster)
    table_streams.StreamRounds(cluster).round()
    assert told(read_all(cluster, stream)) == [("INSERT", "a")]
    assert stream_of(cluster).status == "DISABLED"
    make_table(cluster)
    again = with_stream(cluster)
    assert again.label > stream.label
    assert read_all(cluster, again) == []


# -- reading -----------------------------------------------------------------------------------


def the_open(cluster: Cluster, id_: str) -> StreamShard:
    """The open stream shard that an item's records come into."""
    table = cluster.table("orders")
    slot = table.key_of({"id": {"S": id_}, "at": {"S": "1"}}).slot
    stream = stream_of(cluster)
    (found,) = (
        each for each in shards_of(cluster, stream) if each.is_open and each.overlaps(slot, slot)
    )
    return found


def test_pages_go_on_where_they_ended(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = with_stream(cluster)
    for number in range(25):
        producer.put("orders", item("a", number, text="x" * 1000))
    number_all(cluster)
    reader, shard = StreamReader(cluster), the_open(cluster, "a")
    position = reader.position(stream, shard.name, "TRIM_HORIZON")
    sizes = []
    while True:
        read = reader.read(position, 10)
        assert read.next is not None
        position = read.next
        sizes.append(len(read.page.records))
        if not read.page.behind:
            break
    assert sizes == [10, 10, 5]
    assert reader.read(position).page.records == []
    monkeypatch.setattr(pages, "MOST_BYTES", 5000)
    first = reader.read(reader.position(stream, shard.name, "TRIM_HORIZON")).page.records
    assert [int(record.new["price"]["N"]) for record in first if record.new] == [0, 1]
    monkeypatch.setattr(pages, "MOST_BYTES", 10)
    assert len(reader.read(reader.position(stream, shard.name, "TRIM_HORIZON")).page.records) == 1


def test_a_quiet_stream_moves_on_beside_busy_tables(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    make_table(cluster, "busy", local_indexes=[], global_indexes=[])
    with_stream(cluster, "busy")
    stream = with_stream(cluster)
    for number in range(40):
        producer.put("busy", item(f"i{number}"))
    number_all(cluster)
    reader, shard = StreamReader(cluster), the_open(cluster, "a")
    position = reader.position(stream, shard.name, "TRIM_HORIZON")
    read = reader.read(position)
    assert read.page.records == []
    assert read.next is not None
    assert read.next.seq > position.seq
    assert not read.page.behind


def test_latest_is_latest(cluster: Cluster, orders: Table, producer: Producer) -> None:
    stream = with_stream(cluster)
    producer.put("orders", item("a", 1))
    number_all(cluster)
    reader, shard = StreamReader(cluster), the_open(cluster, "a")
    latest = reader.position(stream, shard.name, "LATEST")
    assert reader.read(latest).page.records == []
    producer.put("orders", item("a", 2))
    number_all(cluster)
    assert by_item(reader.read(latest).page.records) == {"a": [2]}


def test_a_reading_may_begin_at_a_record(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    stream = with_stream(cluster)
    for number in range(5):
        producer.put("orders", item("a", number))
        time.sleep(0.02)
    records = recorded(cluster, stream)
    reader, shard = StreamReader(cluster), the_open(cluster, "a")

    def after(*start: Any, **more: Any) -> list[Any]:
        position = reader.position(stream, shard.name, *start, **more)
        return by_item(reader.read(position).page.records).get("a", [])

    third = records[2]
    assert after("AT_SEQUENCE_NUMBER", third.sequence_number) == [2, 3, 4]
    assert after("AFTER_SEQUENCE_NUMBER", third.sequence_number) == [3, 4]
    assert after("AFTER_SEQUENCE_NUMBER", records[4].sequence_number) == []
    assert after("AT_TIMESTAMP", timestamp=third.created / 1e6) == [2, 3, 4]
    assert after("AT_TIMESTAMP", timestamp=third.created / 1e6 + 0.001) == [3, 4]
    assert after("AT_TIMESTAMP", timestamp=1.0) == [0, 1, 2, 3, 4]
    assert after("AT_TIMESTAMP", timestamp=time.time()) == []
    first_number = f"{shard.generation}{shard.above + 1:020d}"
    assert after("AT_SEQUENCE_NUMBER", first_number) == [0, 1, 2, 3, 4]
    for wrong in ("", "abc", "0" * 25, f"9{7:020d}", f"1{10**6:020d}"):
        with pytest.raises(InvalidRequest, match="SequenceNumber"):
            after("AT_SEQUENCE_NUMBER", wrong)
    with pytest.raises(StreamShardNotFound):
        reader.position(stream, shard.name[:-1] + "?", "LATEST")


def test_iterators_are_of_their_cluster_and_time(cluster: Cluster, orders: Table) -> None:
    stream = with_stream(cluster)
    shard = shards_of(cluster, stream)[0]
    position = StreamReader(cluster).position(stream, shard.name, "TRIM_HORIZON")
    text = dump_iterator(position, cluster.id)
    assert parse_iterator(text, cluster.id) == position
    for wrong in ("", "x", text[:-4], text[:-6] + "AAAAAA", text + "é"):
        with pytest.raises(InvalidToken, match="ShardIterator"):
            parse_iterator(wrong, cluster.id)
    with pytest.raises(InvalidToken, match="ShardIterator"):
        parse_iterator(text, bytes(16))
    for moment in (time.time() - 901, time.time() + 100):
        with pytest.raises(IteratorExpired):
            parse_iterator(dump_iterator(position, cluster.id, moment), cluster.id)


# -- trimming ----------------------------------------------------------------------------------


def age(cluster: Cluster, hours: float) -> None:
    """Make all that there is of streams older."""
    micros = round(hours * 3_600_000_000)
    everywhere(cluster, f"UPDATE mynamo_record SET created = created - {micros}")
    everywhere(cluster, f"UPDATE mynamo_stream_shard SET ended_at = ended_at - {micros}")


def trim(cluster: Cluster) -> int:
    return sum(RecordTrimmer(shard, 86_400).step() for shard in cluster.shards.values())


def test_old_records_go(cluster: Cluster, orders: Table, producer: Producer) -> None:
    stream = with_stream(cluster)
    for number in range(5):
        producer.put("orders", item("a", number))
    number_all(cluster)
    reader, shard = StreamReader(cluster), the_open(cluster, "a")
    horizon = reader.position(stream, shard.name, "TRIM_HORIZON")
    records = reader.read(horizon).page.records
    after_second = reader.position(
        stream, shard.name, "AFTER_SEQUENCE_NUMBER", records[1].sequence_number
    )
    after_last = reader.position(
        stream, shard.name, "AFTER_SEQUENCE_NUMBER", records[4].sequence_number
    )
    assert trim(cluster) == 0
    age(cluster, 25)
    assert trim(cluster) == 5
    producer.put("orders", item("a", 5))
    number_all(cluster)
    assert by_item(reader.read(horizon).page.records) == {"a": [5]}
    assert by_item(reader.read(after_last).page.records) == {"a": [5]}
    with pytest.raises(RecordsTrimmed):
        reader.read(after_second)
    with pytest.raises(RecordsTrimmed):
        reader.position(stream, shard.name, "AT_SEQUENCE_NUMBER", records[4].sequence_number)
    assert by_item(read_all(cluster, stream)) == {"a": [5]}


def test_a_disabled_stream_goes_with_its_last_record(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    stream = with_stream(cluster)
    producer.put("orders", item("a"))
    table_streams.disable(cluster, "orders")
    number_all(cluster)
    rounds = table_streams.StreamRounds(cluster)
    rounds.round()
    trim(cluster)
    rounds.round()
    assert told(read_all(cluster, stream)) == [("INSERT", "a")]
    follower = StreamFollower(StreamReader(cluster), stream)
    age(cluster, 25)
    trim(cluster)
    trim(cluster)
    table_streams.StreamRounds(cluster).round()
    assert StreamReader(cluster).streams() == []
    assert everywhere(cluster, "SELECT 1 FROM mynamo_record") == []
    assert everywhere(cluster, "SELECT 1 FROM mynamo_stream_shard") == []
    assert follower.poll() == []


# -- stream shards -----------------------------------------------------------------------------


def test_stream_shards_roll(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = with_stream(cluster)
    producer.put("orders", item("a", 0))
    number_all(cluster)
    before = the_open(cluster, "a")
    assert stream_shards.follow_slots(cluster, stream)
    assert the_open(cluster, "a") == before
    monkeypatch.setattr(stream_shards, "ROLL_AFTER", 0.0)
    for number in range(1, 4):
        producer.put("orders", item("a", number))
        number_all(cluster)
        stream_shards.follow_slots(cluster, stream)
    after = the_open(cluster, "a")
    assert (after.generation, after.first, after.last) == (4, before.first, before.last)
    found = {each.name: each for each in shards_of(cluster, stream)}
    parent = found[after.parent or ""]
    assert parent.end == after.above
    assert parent.name < after.name
    records = read_all(cluster, stream)
    assert by_item(records) == {"a": [0, 1, 2, 3]}
    numbers = [int(record.sequence_number) for record in records]
    assert numbers == sorted(numbers)
    end = StreamReader(cluster).position(stream, before.name, "LATEST")
    read = StreamReader(cluster).read(end)
    assert (read.page.records, read.next) == ([], None)


def test_a_shard_that_begins_another_incarnation_has_other_stream_shards(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    stream = with_stream(cluster)
    producer.put("orders", item("a", 1))
    number_all(cluster)
    before = the_open(cluster, "a")
    producer.put("orders", item("a", 2))  # without a number yet
    cluster.shards[before.shard].adopt(1)
    after = the_open(cluster, "a")
    assert (after.parent, after.generation) == (before.name, 2)
    producer.put("orders", item("a", 3))
    for shard in cluster.shards.values():
        shard.run(("UPDATE mynamo_incarnation SET state = 'clean'", ()))
    records = recorded(cluster, stream)
    assert by_item(records) == {"a": [1, 2, 3]}
    numbers = [int(record.sequence_number) for record in records]
    assert numbers == sorted(numbers)


def test_a_record_is_written_once_though_numbers_are_given_anew(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    """A new incarnation takes numbers from changes that are not applied everywhere."""
    stream = with_stream(cluster)
    producer.put("orders", item("a", 1))
    assert by_item(recorded(cluster, stream)) == {"a": [1]}
    shard = cluster.shards[the_open(cluster, "a").shard]
    shard.adopt(1)
    rows = shard.run(("SELECT seq FROM mynamo_outbox", ()))[0].rows
    assert rows == ((None,),)
    shard.run(("UPDATE mynamo_incarnation SET state = 'clean'", ()))
    assert by_item(recorded(cluster, stream)) == {"a": [1]}


def test_a_relay_of_an_earlier_release_leaves_changes_with_records_alone(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    """It looks for rows without a number by NULL."""
    with_stream(cluster)
    producer.put("orders", item("a"))
    earlier = "SELECT id FROM mynamo_outbox FORCE INDEX (by_sequence) WHERE seq IS NULL"
    assert everywhere(cluster, earlier) == []
    shard = cluster.shards[the_open(cluster, "a").shard]
    relay = relay_of(cluster, shard)
    assert relay.step() > 0
    assert shard.run(("SELECT seq FROM mynamo_outbox", ()))[0].rows == ((1,),)


# -- what happens between two steps ------------------------------------------------------------


def numbers_of_late_rows(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, apart: bool) -> Any:
    """Ids and numbers, if an event without a record and then one with a record of the same item
    commit while the relay reads.

    Args:
        apart: the relay reads the two kinds in two views.
    """
    table = cluster.table("orders")
    row, index = table.key_of(KEY), table.global_indexes[0]
    shard = cluster.shard_of(row.hash)
    run_, waiting = Session.run, [True]

    def beside() -> None:
        waiting.clear()
        with monkeypatch.context() as as_ever, Cluster(cluster.config) as opened:
            as_ever.setattr(Session, "run", run_)
            re_emit(opened, opened.table("orders"), index, row)
            with Producer(opened) as producer:
                producer.put("orders", item("a", 2))

    def one_by_one(self: Session, *statements: Statement) -> list[Any]:
        results: list[Any] = []
        for text, values in statements:
            is_reading = waiting and " seq IS NULL ORDER BY id" in text
            halves = text.split(" UNION ALL ") if apart and is_reading else [text]
            rows: list[Any] = []
            for half in halves:
                (found,) = run_(self, (half, values))
                rows += found.rows
                if waiting and is_reading:
                    beside()
            results.append(replace(found, rows=tuple(rows)))
        return results

    with Producer(cluster) as producer:
        producer.put("orders", item("a", 1))
    with monkeypatch.context() as slow:
        slow.setattr(Session, "run", one_by_one)
        relay = relay_of(cluster, shard)
        relay.step()
        relay.release()
    assert not waiting
    number_all(cluster)
    return shard.run(("SELECT id, seq FROM mynamo_outbox ORDER BY id", ()))[0].rows


def test_an_item_s_events_keep_their_order_whenever_they_come_into_view(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_stream(cluster)
    found = numbers_of_late_rows(cluster, monkeypatch, apart=False)
    assert [seq for _, seq in found] == [1, 2, 3]


def test_negative_control_in_two_views_they_do_not(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_stream(cluster)
    found = numbers_of_late_rows(cluster, monkeypatch, apart=True)
    assert [seq for _, seq in found] == [1, 3, 2]


@pytest.mark.parametrize("step", [2, 3, 4])
def test_a_crash_between_two_steps_is_followed_by_who_comes_next(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    class Crashed(Exception):  # noqa: N818
        pass

    def crash(label: str) -> None:
        if label == f"stream.{step}":
            raise Crashed

    stream = with_stream(cluster)
    producer.put("orders", item("a", 1))
    number_all(cluster)
    with monkeypatch.context() as dying:
        dying.setattr(stream_shards, "crash_point", crash)
        dying.setattr(stream_shards, "ROLL_AFTER", 0.0)
        with pytest.raises(Crashed):
            stream_shards.follow_slots(cluster, stream)
    producer.put("orders", item("a", 2))
    assert stream_shards.follow_all(cluster) == []
    records = recorded(cluster, stream)
    assert by_item(records) == {"a": [1, 2]}


def test_records_of_slots_that_moved_just_before_it_was_disabled(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    """Nobody has begun a stream shard for them yet."""
    stream = with_stream(cluster)
    producer.put("orders", item("a", 1))
    number_all(cluster)
    shard = the_open(cluster, "a")
    target = 3 - shard.shard
    give_slots(cluster, target)
    slot = orders.key_of(KEY).slot
    id_ = next(
        f"i{n}" for n in range(10_000)
        if FIRST <= orders.key_of({"id": {"S": f"i{n}"}, "at": {"S": "1"}}).slot <= LAST
    )  # fmt: skip
    assert slot >= 0
    producer.put("orders", item(id_, 7))
    table_streams.disable(cluster, "orders")
    number_all(cluster)
    rounds = table_streams.StreamRounds(cluster)
    rounds.round()
    rounds.round()
    assert by_item(read_all(cluster, stream)) == {"a": [1], id_: [7]}
    assert not any(each.is_open for each in shards_of(cluster, stream))
    count = len(shards_of(cluster, stream))
    stream_shards.follow_all(cluster)
    assert len(shards_of(cluster, stream)) == count


def test_stream_shards_are_read_between_two_moves(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = with_stream(cluster)
    read, seen = stream_shards.shards_of, []

    def moving(shard: Any, stream_id: int | None = None) -> list[StreamShard]:
        seen.append(shard.id)
        if len(seen) == 1:
            give_slots(cluster, 3 - cluster.refresh().shard_ids[-1])
        return read(shard, stream_id)

    monkeypatch.setattr(stream_shards, "shards_of", moving)
    stream_shards.all_shards_of(cluster, stream.id)
    assert seen == [1, 2, 1, 2]


def test_who_began_at_the_horizon_hears_of_what_was_deleted_since(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    stream = with_stream(cluster)
    for number in range(6):
        producer.put("orders", item("a", number))
    number_all(cluster)
    reader, shard = StreamReader(cluster), the_open(cluster, "a")
    read = reader.read(reader.position(stream, shard.name, "TRIM_HORIZON"), 2)
    assert by_item(read.page.records) == {"a": [0, 1]}
    assert read.next is not None
    age(cluster, 25)
    trim(cluster)
    with pytest.raises(RecordsTrimmed):
        reader.read(read.next)


def test_a_stream_that_is_being_disabled_ends_whatever_comes_next(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    """Its table is dropped, or it is enabled again, before all shards know of its end."""
    make_table(cluster, "others")
    first, second = with_stream(cluster), with_stream(cluster, "others")
    table_streams.begin_disabling(cluster, "orders")
    table_streams.begin_disabling(cluster, "others")
    definitions.drop_table(cluster, "orders")
    again = with_stream(cluster, "others")
    number_all(cluster)
    rounds = table_streams.StreamRounds(cluster)
    rounds.round()
    statuses = {one.id: one.status for one in StreamReader(cluster).streams()}
    assert statuses == {first.id: "DISABLED", second.id: "DISABLED", again.id: "ENABLED"}
    for one in (first, second):
        assert not any(each.is_open for each in shards_of(cluster, one))


def test_who_enables_a_stream_settles_nothing_that_came_later(
    cluster: Cluster, other: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = stream_shards.begin_stream_shards

    def disabled_meanwhile(given: Cluster, stream: Any) -> None:
        begin(given, stream)
        table_streams.begin_disabling(other, "orders")

    monkeypatch.setattr(roll_forward_module, "begin_stream_shards", disabled_meanwhile)
    table_streams.enable(cluster, "orders", "NEW_IMAGE")
    assert stream_of(cluster).status == "DISABLING"
    monkeypatch.undo()
    roll_forward_module.roll_forward(cluster, orders.id)
    assert stream_of(cluster).status == "DISABLED"
    guards = everywhere(cluster, f"SELECT version FROM mynamo_fence WHERE id = {orders.id}")
    assert guards == [(3,), (3,)]


def test_a_restored_shard_ends_what_it_has_of_streams_that_are_over(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    stream = with_stream(cluster)
    producer.put("orders", item("a", 1))
    number_all(cluster)
    definitions.drop_table(cluster, "orders")
    shard = cluster.shards[1]
    shard.run((f"DELETE FROM mynamo_fence WHERE id = {orders.id}", ()))  # as its backup had it
    roll_forward_module.roll_forward_shard(cluster, shard)
    table_streams.StreamRounds(cluster).round()
    assert not any(each.is_open for each in shards_of(cluster, stream))
    everywhere(cluster, "UPDATE mynamo_stream_shard SET stream_id = 99, end_seq = NULL")
    stream_shards.follow_all(cluster)
    assert everywhere(cluster, "SELECT 1 FROM mynamo_stream_shard WHERE end_seq IS NULL") == []


def test_a_page_is_given_though_another_shard_is_away(
    cluster: Cluster, orders: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = with_stream(cluster)
    producer.put("orders", item("a", 1))
    number_all(cluster)
    shard = the_open(cluster, "a")
    with monkeypatch.context() as rolling:
        rolling.setattr(stream_shards, "ROLL_AFTER", 0.0)
        stream_shards.follow_slots(cluster, stream)
    reader = StreamReader(cluster)
    position = reader.position(stream, shard.name, "TRIM_HORIZON")

    def away(*_: Any) -> None:
        raise ShardUnavailable

    with monkeypatch.context() as missing:
        missing.setattr(stream_reader, "all_shards_of", away)
        read = reader.read(position)
        assert by_item(read.page.records) == {"a": [1]}
        assert read.next is not None
    assert reader.read(read.next).next is None


def test_records_are_written_while_kafka_is_away(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    """The configuration of these tests has no broker."""
    stream = with_stream(cluster)
    with working(cluster.config, run_writer):
        for number in range(30):
            producer.put("orders", item(f"i{number}"))
        eventually(lambda: len(read_all(cluster, stream)) == 30, 40)
        started = time.monotonic()
        counts: list[int] = []
        while time.monotonic() - started < 5:
            producer.put("orders", item("a", len(counts)))
            time.sleep(0.3)
            counts.append(len(read_all(cluster, stream)))
        assert counts[-1] >= 30 + len(counts) - 4


# -- clusters of an earlier release ------------------------------------------------------------


def test_a_cluster_of_an_earlier_release_is_to_be_upgraded_first(
    config_file: Path, cluster: Cluster, orders: Table
) -> None:
    as_earlier(cluster, 5)
    cluster.catalog.change_settings(
        orders.id,
        lambda now: now.with_(stream={"enabled": True, "view": "NEW_IMAGE", "label": "x"}),
    )
    refused = run(config_file, "stream", "enable", "orders", status=1).output
    assert "run `mynamo upgrade`" in refused
    assert "catalog: format 6" in run(config_file, "upgrade").stdout
    assert "catalog: it has format 6 already" in run(config_file, "upgrade").stdout
    assert set(everywhere(cluster, "SELECT oldest FROM mynamo_format WHERE kind = 'shard'")) == {
        (STREAMS.shards,)
    }
    listed = run(config_file, "stream", "list")
    assert "run `mynamo stream enable orders --view NEW_IMAGE`" in listed.stderr
    run(config_file, "stream", "enable", "orders")
    assert "ENABLED" in run(config_file, "stream", "list").stdout


def test_processes_of_the_earlier_release_work_no_more_where_there_may_be_streams(
    config: ClusterConfig, config_file: Path, tmp_path: Path
) -> None:
    if reason := why_no_release(FORMAT_5):
        pytest.skip(f"the earlier release comes from git: {reason}")
    folder = check_out(tmp_path / "earlier", FORMAT_5)
    with EarlierProcess(folder, config_file) as old, Cluster(config) as cluster:
        assert cluster.snapshot.format == 5
        assert [old.do(word) for word in ("put", "get", "refresh", "put")] == ["done"] * 4
        enable(cluster, lambda _: None, STREAMS)
        for word in ("get", "put"):
            assert "which this version of mynamo" in old.do(word)


# -- the command -------------------------------------------------------------------------------


def test_the_command_with_a_shard_away(config: ClusterConfig, tmp_path: Path) -> None:
    """What it says comes true."""
    first, second = config.shards
    file = tmp_path / "mynamo.toml"
    with Cluster(config) as cluster, Proxy(second.host, second.port) as proxy:
        make_table(cluster, global_indexes=[])
        table_streams.enable(cluster, "orders", "KEYS_ONLY")
        away = second.model_copy(update={"host": "127.0.0.1", "port": proxy.port})
        behind_proxy = config.model_copy(update={"shards": (first, away)})
        file.write_text("timeout = 1\n" + config_toml(behind_proxy))
        proxy.refuse()
        said = " ".join(run(file, "stream", "disable", "orders", status=1).output.split())
        assert (
            "the change is recorded, and a writer worker finishes it once the server answers: "
            "`mynamo stream list` then shows the stream as DISABLED"
        ) in said
        stream = cluster.refresh().names["orders"].latest_stream
        assert stream is not None
        assert stream.status == "DISABLING"
        proxy.accept()

        def status() -> str:
            (listed,) = json.loads(run(file, "stream", "list", "--json").stdout)
            return str(listed["status"])

        with working(behind_proxy, run_writer):
            eventually(lambda: status() == "DISABLED")


def test_the_command(config_file: Path, cluster: Cluster, producer: Producer) -> None:
    make_table(cluster, global_indexes=[])
    assert "no table has a stream" in run(config_file, "stream", "list").stderr
    said = run(config_file, "stream", "enable", "orders", "--view", "NEW_AND_OLD_IMAGES").stdout
    assert "the stream of table orders is ENABLED" in said
    assert "already" in run(config_file, "stream", "enable", "orders", status=1).output
    assert "order" in run(config_file, "stream", "enable", "oders", status=1).output
    producer.put("orders", item("a", 7))
    producer.delete("orders", {"id": "a", "at": "1"})
    number_all(cluster)
    listed = run(config_file, "stream", "list", "--json").stdout
    (one,) = json.loads(listed)
    assert (one["table"], one["status"], one["open_shards"]) == ("orders", "ENABLED", 2)
    tail = ("stream", "tail", "orders", "--from-start", "--for", "0.1")
    lines = run(config_file, *tail).stdout.splitlines()
    assert ["INSERT" in lines[0], "REMOVE" in lines[1], len(lines)] == [True, True, 2]
    assert lines[0].endswith('{"id":"a","at":"1"}  {"name":"n","price":7}')
    first, second = map(json.loads, run(config_file, *tail, "--json").stdout.splitlines())
    assert (first["event"], first["new"]["price"], first["old"]) == ("INSERT", 7, None)
    assert (second["event"], second["new"], second["old"]["price"]) == ("REMOVE", None, 7)
    (typed,) = run(config_file, *tail, "--limit", "1", "--dynamodb-json").stdout.splitlines()
    assert json.loads(typed)["new"]["price"] == {"N": "7"}
    assert "DISABLED" in run(config_file, "stream", "disable", "orders").stdout
    assert "no stream" in run(config_file, "stream", "disable", "orders", status=1).output
    label = ("--label", "x")
    assert "no stream x" in run(config_file, "stream", "tail", "orders", *label, status=1).output
    other = run(config_file, "stream", "tail", "other", status=1)
    assert "mynamo stream enable other" in other.output


def test_the_library(config: ClusterConfig, cluster: Cluster) -> None:
    with HashBasedShardManager(config) as manager:
        manager.create_table({"table": "readings", "hash_key": "id"})
        with pytest.raises(StreamNotFound):
            manager.follow_stream("readings")
        manager.enable_stream("readings", "NEW_IMAGE")
        manager.insert("readings", {"id": "a", "value": 7})
        number_all(cluster)
        (change,) = manager.follow_stream("readings", from_horizon=True, seconds=0)
        assert (change.event, change.keys, change.old) == ("INSERT", {"id": "a"}, None)
        assert change.new == {"id": "a", "value": Decimal(7)}
        assert abs(change.at.timestamp() - time.time()) < 60
        assert list(manager.follow_stream("readings", seconds=0)) == []
        manager.disable_stream("readings")
        with pytest.raises(InvalidRequest, match="no stream"):
            manager.disable_stream("readings")
