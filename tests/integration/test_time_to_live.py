"""Time to live: what has expired is deleted, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mynamo.catalog import definitions, sql, time_to_live
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.enabling import EXPIRY, NEWEST, enable
from mynamo.catalog.tables import Table
from mynamo.errors import IndexNotFound, InvalidRequest, InvalidSchema, TableNotFound
from mynamo.operations import repair, verify
from mynamo.operations.due_items import due_items
from mynamo.producer import Producer
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.expiry import FIVE_YEARS
from mynamo.schemas.items import to_stored
from mynamo.schemas.table import LocalIndexSchema, TableSchema, parse
from mynamo.writer import WriteRequest, apply_each, expirer, worker
from mynamo.writer.expirer import Expirer
from mynamo.writer.transaction import write_requests
from mynamo.writer.transaction.evaluation import Done
from mynamo.writer.worker import run_writer
from tests.commands import run
from tests.earlier_process import EarlierProcess
from tests.expiring import (
    damage_of_expiries,
    enabled,
    enabled_index,
    expire,
    finished,
    ids,
    now,
    put,
)
from tests.faults.releases import FORMAT_4, check_out, why_no_release
from tests.rows import (
    as_earlier,
    damage,
    everywhere,
    make_table,
    outbox_of,
)
from tests.waiting import eventually
from tests.workers import working


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


@pytest.fixture
def table(cluster: Cluster, orders: Table) -> Table:
    """The table `orders`, whose items expire by `until`."""
    enabled(cluster)
    return cluster.table("orders")


WRITTEN: dict[str, Callable[[], dict[str, Any]]] = {
    "gone-just": lambda: {"N": str(now() - 2)},
    "gone-fraction": lambda: {"N": f"{now() - 3}.75"},
    "gone-years": lambda: {"N": str(now() - FIVE_YEARS + 100)},
    "stays-later": lambda: {"N": str(now() + 3600)},
    "stays-milliseconds": lambda: {"N": str(now() * 1000)},
    "stays-too-old": lambda: {"N": str(now() - FIVE_YEARS - 1)},
    "stays-zero": lambda: {"N": "0"},
    "stays-negative": lambda: {"N": str(-now())},
    "stays-huge": lambda: {"N": "1" + "0" * 120},
    "stays-text": lambda: {"S": str(now() - 2)},
    "stays-set": lambda: {"NS": [str(now() - 2)]},
    "stays-null": lambda: {"NULL": True},
    "stays-nested": lambda: {"M": {"until": {"N": str(now() - 2)}}},
    "stays-list": lambda: {"L": [{"N": str(now() - 2)}]},
}


def write_all(cluster: Cluster, producer: Producer) -> None:
    """An item of each kind of value, in stored form, and one without the attribute."""
    put(producer, "stays-without")
    for id_, value in WRITTEN.items():
        stored = {**to_stored({"id": id_, "at": "1", "price": 1, "name": "n"}), "until": value()}
        ((_, outcome),) = apply_each(cluster, [WriteRequest("orders", "PUT", stored)])
        assert isinstance(outcome, Done)


# -- what is deleted ---------------------------------------------------------------------------


def test_what_has_expired_is_deleted_with_its_rows(
    cluster: Cluster, table: Table, producer: Producer
) -> None:
    write_all(cluster, producer)
    assert expire(cluster) == 3
    assert ids(cluster) == {"stays-without", *(id_ for id_ in WRITTEN if id_[:5] == "stays")}
    assert damage(cluster, table) == []
    assert expire(cluster) == 0
    events = [event for shard in cluster.shards.values() for _, event in outbox_of(shard, table)]
    expired = [event for event in events if event.get("expired")]
    assert {event["keys"]["id"]["S"] for event in expired} == {
        id_ for id_ in WRITTEN if id_[:4] == "gone"
    }
    assert {event["operation"] for event in expired} == {"REMOVE"}
    assert all(event["old_image"]["until"] for event in expired)


def test_items_that_were_there_before_expire_too(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    write_all(cluster, producer)
    assert expire(cluster) == 0
    enabled(cluster)
    assert damage(cluster, cluster.table("orders")) == []
    assert expire(cluster) == 3


def test_until_it_is_enabled_everywhere_nothing_expires(
    cluster: Cluster, orders: Table, producer: Producer
) -> None:
    time_to_live.enable(cluster, "orders", "until")
    put(producer, "gone", now() - 5)
    assert expire(cluster) == 0
    finished(cluster, "orders")
    assert expire(cluster) == 1


def test_the_expiries_are_kept_up_by_every_write(
    cluster: Cluster, table: Table, producer: Producer
) -> None:
    def expiries() -> list[int]:
        index = table.time_to_live
        assert index is not None
        rows = everywhere(cluster, f"SELECT index_sort FROM {sql.index_table(index)}")
        return [int.from_bytes(sort, "big") for (sort,) in rows]

    def change(update: str, values: dict[str, Any] | None = None) -> None:
        names = {"#until": "until"}
        producer.update(
            "orders", {"id": "a", "at": "1"}, expression=update, names=names, values=values
        )

    put(producer, "a", 100)
    assert expiries() == [100]
    put(producer, "a", 200)
    assert expiries() == [200]
    change("SET #until = #until + :n", {":n": 50})
    assert expiries() == [250]
    change("SET #until = :s", {":s": {"x": 1}})
    assert expiries() == []
    change("SET #until.x = :n", {":n": 1})
    put(producer, "a", 300)
    assert expiries() == [300]
    change("REMOVE #until")
    assert expiries() == []
    put(producer, "a", 400)
    producer.delete("orders", {"id": "a", "at": "1"})
    assert expiries() == []
    assert damage(cluster, table) == []


def test_the_attribute_may_be_a_key(cluster: Cluster, producer: Producer) -> None:
    schema = TableSchema.parse({"name": "log", "hash_key": "id", "sort_key": "at:N"})
    definitions.create_table(cluster, schema)
    enabled(cluster, "log", "at")
    for at in (now() - 10, now() + 1000):
        producer.put("log", {"id": "a", "at": at})
    assert expire(cluster) == 1
    assert [item["at"] > now() for item in Reader(cluster).scan("log").items] == [True]


def test_a_table_without_a_sort_key(cluster: Cluster, producer: Producer) -> None:
    definitions.create_table(cluster, TableSchema.parse({"name": "plain", "hash_key": "id"}))
    enabled(cluster, "plain")
    for number in range(20):
        producer.put("plain", {"id": f"i{number}", "until": now() - 5 if number % 2 else None})
    assert expire(cluster) == 10
    assert len(ids(cluster, "plain")) == 10


# -- what is not -------------------------------------------------------------------------------


def at_point(label: str, change: Callable[[], Any]) -> Any:
    """Do something when the expirer gets to a point for the first time."""
    left = [change]

    def reached(at: str) -> None:
        if at == label and left:
            left.pop()()

    return mock.patch.object(expirer, "crash_point", reached)


def test_an_item_that_is_prolonged_meanwhile_stays(
    cluster: Cluster, table: Table, producer: Producer
) -> None:
    put(producer, "a", now() - 5)
    put(producer, "b", now() - 5)
    with at_point("expiry.2", lambda: put(producer, "a", now() + 100)):
        assert expire(cluster) == 1
    assert ids(cluster) == {"a"}
    assert damage(cluster, table) == []


def test_control_without_the_condition_a_prolonged_item_is_lost(
    cluster: Cluster, table: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_requests, "is_due", lambda *_: True)
    put(producer, "a", now() - 5)
    with at_point("expiry.2", lambda: put(producer, "a", now() + 100)):
        assert expire(cluster) == 1
    assert ids(cluster) == set()


def test_when_it_is_disabled_meanwhile_all_stay(
    cluster: Cluster, other: Cluster, table: Table, producer: Producer
) -> None:
    put(producer, "a", now() - 5)
    with at_point("expiry.2", lambda: time_to_live.disable(other, "orders")):
        assert expire(cluster) == 0
    assert ids(cluster) == {"a"}
    names = everywhere(cluster, "SHOW TABLES LIKE 't%\\_l%'")
    assert len(names) == len(cluster.shards)  # of the LSI


@pytest.mark.parametrize("checked", [True, False])
def test_items_of_another_table_of_that_name_stay(
    cluster: Cluster,
    other: Cluster,
    table: Table,
    producer: Producer,
    checked: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: without the check of the table they are deleted."""

    def replaced() -> None:
        definitions.drop_table(other, "orders")
        make_table(other)
        enabled(other, "orders", "until" if checked else "bis")
        put(producer, "a", now() - 5)

    if not checked:
        monkeypatch.setattr(write_requests.StillDue, "check_table", lambda *_: None)
    put(producer, "a", now() - 5)
    with at_point("expiry.2", replaced):
        assert expire(cluster) == (0 if checked else 1)
    assert ids(cluster) == ({"a"} if checked else set())


@pytest.mark.parametrize("by", [120, -120])
def test_while_clocks_differ_nothing_expires(
    cluster: Cluster,
    table: Table,
    producer: Producer,
    by: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(producer, "a", now() - 5)
    stop = threading.Event()
    expirers = [Expirer(cluster, shard, stop) for shard in cluster.shards.values()]
    ahead = time.time() + by
    with mock.patch("mynamo.writer.expirer.time.time", return_value=ahead):
        assert [one.round() for one in expirers for _ in range(2)] == [0] * 4
    assert caplog.text.count("no items expire there") == 2  # once for each shard
    assert sum(one.round() for one in expirers) == 1


# -- many items, tables, workers ---------------------------------------------------------------


def test_more_items_than_a_batch_of_one_second_and_of_many(
    cluster: Cluster, table: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expirer, "BATCH", 7)
    at = now() - 1000
    for number in range(60):
        put(producer, f"i{number}", at + number // 30)
        put(producer, f"later{number}", now() + 1000)
    assert sum(one.items for one in due_items(cluster, enabled_index(cluster))) == 60
    assert expire(cluster) == 60
    assert len(ids(cluster)) == 60
    assert damage(cluster, table) == []


def test_items_that_cannot_be_deleted_hold_up_no_others(
    cluster: Cluster, table: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of the index without an item, as many as a batch, before all others."""
    monkeypatch.setattr(expirer, "BATCH", 5)
    name = sql.index_table(enabled_index(cluster))
    for shard in cluster.shards.values():
        for number in range(20):
            shard.run(
                (f"INSERT INTO {name} VALUES (%s, %s, '')",
                 (bytes([number]) * 16, (now() - 100).to_bytes(8, "big")))
            )  # fmt: skip
    for number in range(10):
        put(producer, f"i{number}", now() - 5)
    assert expire(cluster) == 10


def test_tables_have_turns(
    cluster: Cluster, table: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expirer, "BATCH", 4)
    make_table(cluster, "small")
    enabled(cluster, "small")
    for number in range(60):
        put(producer, f"i{number}", now() - 100)
    put(producer, "one", now() - 100, "small")
    stop = threading.Event()
    batches = []

    def recorded(cluster: Cluster, requests: list[Any]) -> Any:
        batches.append({request.table for request in requests})
        return apply_each(cluster, requests)

    monkeypatch.setattr(expirer, "apply_each", recorded)
    shard = cluster.shard_of(
        cluster.table("small").key_of(to_stored({"id": "one", "at": "1"})).hash
    )
    Expirer(cluster, shard, stop).round()
    assert {"small"} in batches[:2]
    assert len(batches) > 3


def test_one_worker_at_a_time_and_the_next_when_it_ends(
    cluster: Cluster, other: Cluster, table: Table, producer: Producer
) -> None:
    put(producer, "a", now() - 5)
    other.refresh()
    stop = threading.Event()
    number = cluster.shard_of(table.key_of(to_stored({"id": "a", "at": "1"})).hash).id
    first, second = (Expirer(one, one.shards[number], stop) for one in (cluster, other))
    counts = []
    with at_point("expiry.2", lambda: counts.append(second.round())):
        assert first.round() == 1
    assert counts == [0]
    put(producer, "a", now() - 5)
    assert second.round() == 1


def test_an_expirer_stops_when_told_to(
    cluster: Cluster, table: Table, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expirer, "BATCH", 2)
    for number in range(40):
        put(producer, f"i{number}", now() - 5)
    stop = threading.Event()
    with at_point("expiry.3", stop.set):
        assert expire(cluster, stop) == 2
    assert expire(cluster) == 38


def test_a_writer_worker_does_all_of_it(
    config: ClusterConfig,
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "_EXPIRY_PAUSE", 0.1)
    put(producer, "before", now() - 5)

    def without_kafka(cluster: Cluster, stop: threading.Event) -> None:
        run_writer(cluster, stop, relay=False, queue=False)

    with working(config, without_kafka):
        time_to_live.enable(cluster, "orders", "until")
        put(producer, "after", now() - 5)
        put(producer, "stays", now() + 500)
        eventually(lambda: ids(cluster) == {"stays"}, 30)


# -- verify and repair -------------------------------------------------------------------------


def test_verify_and_repair_cover_the_expiries(cluster: Cluster, producer: Producer) -> None:
    make_table(cluster, global_indexes=[])
    enabled(cluster)
    for number in range(10):
        put(producer, f"i{number}", 5_000_000_000 + number)
    name = sql.index_table(enabled_index(cluster))
    assert verify(cluster, "orders").ok
    for shard in cluster.shards.values():
        shard.run((f"DELETE FROM {name} LIMIT 1", ()))
        shard.run((f"UPDATE {name} SET index_sort = 'wrong' LIMIT 1", ()))
    found: list[Any] = []
    verify(cluster, "orders", on_findings=lambda some: found.extend(some))
    assert len(found) >= 4
    assert {each.index.name for each in found} == {"time to live"}
    assert repair(cluster, "orders").ok
    assert verify(cluster, "orders").ok
    assert damage_of_expiries(cluster) == []


# -- definitions -------------------------------------------------------------------------------


def test_rules_of_enabling(cluster: Cluster, table: Table) -> None:
    other_attribute = "active on a different AttributeName: current AttributeName is until"
    with pytest.raises(InvalidRequest, match="TimeToLive is already enabled"):
        time_to_live.enable(cluster, "orders", "until")
    with pytest.raises(InvalidRequest, match=other_attribute):
        time_to_live.enable(cluster, "orders", "bis")
    with pytest.raises(InvalidRequest, match=other_attribute):
        time_to_live.begin_disabling(cluster, "orders", "bis")
    time_to_live.disable(cluster, "orders")
    assert cluster.table("orders").time_to_live is None
    with pytest.raises(InvalidRequest, match="TimeToLive is already disabled"):
        time_to_live.disable(cluster, "orders")
    with pytest.raises(TableNotFound):
        time_to_live.enable(cluster, "nothing", "until")
    with pytest.raises(InvalidSchema):
        time_to_live.enable(cluster, "orders", "")
    with pytest.raises(InvalidSchema):
        time_to_live.enable(cluster, "orders", "x" * 256)
    assert enabled(cluster, "orders", "bis").expiry == "bis"


def test_what_is_being_disabled_cannot_be_enabled(cluster: Cluster, table: Table) -> None:
    time_to_live.begin_disabling(cluster, "orders")
    with pytest.raises(InvalidRequest, match="modified multiple times within a fixed interval"):
        time_to_live.enable(cluster, "orders", "until")
    definitions.finish(cluster, table.id)
    enabled(cluster)


def test_it_is_no_index_of_its_users(cluster: Cluster, table: Table) -> None:
    assert [index.name for index in table.user_indexes] == ["by_price", "by_name"]
    with pytest.raises(IndexNotFound):
        Reader(cluster).query("orders", "a", index="time to live")
    for number in range(4):
        index = {"name": f"more{number}", "sort_key": f"a{number}"}
        definitions.add_index(cluster, "orders", parse(LocalIndexSchema, index))
    assert len(cluster.table("orders").local_indexes) == 5


def test_a_writer_that_missed_it_keeps_the_expiries_up(
    cluster: Cluster, other: Cluster, orders: Table
) -> None:
    with Producer(other) as late:
        put(late, "a", now() - 5)
        enabled(cluster)
        put(late, "b", now() - 5)
    assert expire(cluster) == 2


# -- clusters of an earlier release ------------------------------------------------------------


def test_a_cluster_of_an_earlier_release_is_to_be_upgraded_first(
    config_file: Path, cluster: Cluster, orders: Table, producer: Producer
) -> None:
    as_earlier(cluster, 4)
    cluster.catalog.change_settings(
        orders.id, lambda now: now.with_(ttl={"attribute": "until", "enabled": True})
    )
    refused = run(config_file, "ttl", "enable", "orders", "until", status=1).output
    assert "run `mynamo upgrade`" in refused
    assert "catalog: format 6" in run(config_file, "upgrade").stdout
    assert "catalog: it has format 6 already" in run(config_file, "upgrade").stdout
    assert set(everywhere(cluster, "SELECT oldest FROM mynamo_format WHERE kind = 'shard'")) == {
        (NEWEST.shards,)
    }
    listed = run(config_file, "ttl", "list")
    assert "run `mynamo ttl enable orders until`" in listed.stderr
    run(config_file, "ttl", "enable", "orders", "until")
    assert "ENABLED" in run(config_file, "ttl", "list").stdout


def test_processes_of_the_earlier_release_write_to_no_table_with_time_to_live(
    config: ClusterConfig, config_file: Path, tmp_path: Path
) -> None:
    if reason := why_no_release(FORMAT_4):
        pytest.skip(f"the earlier release comes from git: {reason}")
    folder = check_out(tmp_path / "earlier", FORMAT_4)
    with EarlierProcess(folder, config_file) as old, Cluster(config) as cluster:
        assert cluster.snapshot.format == 4
        assert [old.do(word) for word in ("put", "get", "refresh", "put")] == ["done"] * 4
        enable(cluster, lambda _: None, EXPIRY)
        enabled(cluster, "earlier")
        assert "which this version of mynamo" in old.do("put")


# -- the command -------------------------------------------------------------------------------


def test_the_command(config_file: Path, cluster: Cluster, producer: Producer) -> None:
    make_table(cluster, global_indexes=[])
    assert "no table has time to live" in run(config_file, "ttl", "list").stderr
    put(producer, "a", now() - 50)
    put(producer, "b")
    said = run(config_file, "ttl", "enable", "orders", "until").stdout
    assert "ENABLED: 1 of 2 items have a time in until" in said
    assert "orders" in run(config_file, "ttl", "list").stdout
    assert (
        "already enabled" in run(config_file, "ttl", "enable", "orders", "until", status=1).output
    )
    assert "order" in run(config_file, "ttl", "enable", "oders", "until", status=1).output
    run(config_file, "verify", "orders")
    assert "time to live: until, ENABLED" in run(config_file, "table", "describe", "orders").stdout
    assert "DISABLED" in run(config_file, "ttl", "disable", "orders").stdout
    assert "already disabled" in run(config_file, "ttl", "disable", "orders", status=1).output
    run(config_file, "ttl", "enable", "orders", "bis", "--no-wait")
    assert "ENABLING" in run(config_file, "ttl", "list").stdout
