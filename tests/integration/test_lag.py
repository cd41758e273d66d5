"""`lag` and `wait_until_applied` see where changes wait."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import pytest

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.definitions import create_table
from mynamo.errors import LogUnavailable, ShardUnavailable
from mynamo.operations import lag, standstill, wait_until_applied
from mynamo.operations.pipeline import Horizon
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import TableSchema
from mynamo.writer.worker import run_writer
from tests.comparing import gsi_damage
from tests.operations import fill, order
from tests.waiting import eventually
from tests.workers import pipeline, working

pytestmark = pytest.mark.slow

ITEMS = [order(number) for number in range(20)]


def test_changes_are_seen_where_they_wait(config: ClusterConfig, cluster: Cluster) -> None:
    create_table(cluster, TableSchema.parse({"name": "plain", "hash_key": "id"}))
    fill(cluster, ITEMS)
    with Producer(cluster) as producer:
        producer.put("plain", {"id": "1"})
    # 1. Nobody works.
    report = lag(cluster)
    assert report.events == len(ITEMS)
    assert sum(s.rows for s in report.shards) == len(ITEMS) + 1
    assert sum(s.unsequenced for s in report.shards) == len(ITEMS) + 1
    assert sum(s.unpublished for s in report.shards) == len(ITEMS) + 1
    assert all(100 * s.rows < s.payload_bytes < 2000 * s.rows for s in report.shards)
    assert {(i.table, i.index) for i in report.indexes} == {
        ("orders", "by_name"), ("orders", "by_city"),
    }  # fmt: skip
    assert len(report.indexes) == 4
    assert sum(i.events for i in report.indexes if i.index == "by_name") == len(ITEMS)
    assert 0 < report.seconds < 600
    assert report.queued_writes == 0
    assert "NO RELAY" in str(report)
    assert all(0 < s.oldest_seconds < 600 for s in report.shards)
    assert (report.indexers, report.indexer_missing) == (0, True)
    assert "NO INDEXER" in str(report)
    assert not wait_until_applied(cluster, 0.1)
    # 2. A relay, but no indexer.
    with working(config, run_writer):
        eventually(lambda: sum(s.unpublished for s in lag(cluster).shards) == 0)
        report = lag(cluster)
        assert all(s.relay_alive for s in report.shards), str(report)
        assert "NO RELAY" not in str(report)
        assert report.events == len(ITEMS)
        assert sum(s.unsequenced for s in report.shards) == 0
        assert report.indexer_missing
        assert not wait_until_applied(cluster, 0.1)
    assert not any(s.relay_alive for s in lag(cluster).shards)
    # 3. Both.
    with pipeline(config):
        assert wait_until_applied(cluster, 60), str(lag(cluster))
        report = lag(cluster)
        assert (report.indexers, report.indexer_missing) == (1, False)
        assert "NO INDEXER" not in str(report)
    report = lag(cluster)
    assert report.events == 0
    assert report.seconds == 0
    assert gsi_damage(cluster, "orders") == []


def test_an_empty_cluster_has_no_lag(cluster: Cluster) -> None:
    report = lag(cluster)
    assert (report.events, report.seconds, report.indexes, report.queued_writes) == (0, 0, (), 0)
    assert [s.rows for s in report.shards] == [0, 0]
    assert [s.oldest_seconds for s in report.shards] == [0, 0]
    assert not report.indexer_missing  # there is nothing to do for one
    assert wait_until_applied(cluster, 0)


def test_the_oldest_row_need_not_wait_for_an_index(cluster: Cluster) -> None:
    create_table(cluster, TableSchema.parse({"name": "plain", "hash_key": "id"}))
    with Producer(cluster) as producer:
        for n in range(10):
            producer.put("plain", {"id": f"{n}"})
        for shard in cluster.shards.values():
            shard.run(("UPDATE mynamo_outbox SET created = created - 500000000", ()))
        fill(cluster, ITEMS)
    for each in lag(cluster).shards:
        assert each.unapplied > 0
        assert each.unapplied_seconds < 400
        assert 500 < each.oldest_seconds < 900


def test_waiting_means_that_the_indexes_are_complete(
    config: ClusterConfig, cluster: Cluster
) -> None:
    fill(cluster, ())
    with pipeline(config), Producer(cluster) as producer:
        for price in range(30):
            producer.put("orders", order(price % 3, price=price))
            assert wait_until_applied(cluster, 60), str(lag(cluster))
            assert gsi_damage(cluster, "orders") == []


def test_without_waiting_they_are_not(
    config: ClusterConfig, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above."""
    monkeypatch.setattr(Horizon, "pending", lambda _: set())
    fill(cluster, ())
    damaged = 0
    with pipeline(config), Producer(cluster) as producer:
        for price in range(30):
            producer.put("orders", order(price % 3, price=price))
            assert wait_until_applied(cluster, 60)
            damaged += bool(gsi_damage(cluster, "orders"))
    assert damaged


def test_queued_writes_are_counted(config: ClusterConfig, cluster: Cluster) -> None:
    fill(cluster, ())
    with Producer(cluster) as producer:
        producer.publish(*(producer.queued_put("orders", item) for item in ITEMS))
    assert lag(cluster).queued_writes == len(ITEMS)
    assert f"queued writes waiting: {len(ITEMS)}" in str(lag(cluster))
    with pipeline(config):
        eventually(lambda: lag(cluster).queued_writes == 0)


def test_indexes_that_do_not_move_are_told_of(
    config: ClusterConfig, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standstill, "WAITED", 0.5)
    monkeypatch.setattr(standstill, "UNMOVED", 0.5)
    fill(cluster, ITEMS)
    eventually(lambda: lag(cluster).seconds > 1)
    report = lag(cluster)
    assert (report.standing, report.standstill) == ((), "")  # nothing is published yet
    with working(config, run_writer):
        eventually(lambda: lag(cluster).standing == (1, 2))
        report = lag(cluster)
        assert report.indexer_missing
        assert "INDEXES STAND STILL: events from shard 1, 2" in str(report)
        assert "run `mynamo indexer`" in report.standstill
        stuck = replace(report, indexers=2)
        assert not stuck.indexer_missing
        assert "the logs of the indexers (2 at work)" in str(stuck)
        assert "run `mynamo indexer`" not in str(stuck)
        unknown = replace(report, indexers=None)  # Kafka does not answer
        assert not unknown.indexer_missing
        assert "look whether an indexer is at work" in str(unknown)
    with pipeline(config):
        assert wait_until_applied(cluster, 60), str(lag(cluster))
        assert lag(cluster).standing == ()


def test_without_kafka_the_rest_is_still_known(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise LogUnavailable("Kafka at nowhere:9092 does not answer")

    monkeypatch.setattr(import_module("mynamo.operations.lag"), "open_consumer", refuse)
    fill(cluster, ITEMS[:3])
    report = lag(cluster)
    assert report.queued_writes is None
    assert "Kafka at nowhere:9092" in report.notes[0]
    assert report.events == 3


def test_a_shard_that_does_not_answer_is_a_note(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ShardUnavailable("it does not answer")

    fill(cluster, ITEMS)
    monkeypatch.setattr(cluster.shards[2], "session", refuse)
    report = lag(cluster)
    assert [s.shard for s in report.shards] == [1]
    assert not report.complete
    assert "shard 2 is not known: it does not answer" in str(report)
