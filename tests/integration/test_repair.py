"""`repair` beside live writes: it never undoes one, and what it cannot finish it says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.operations import Finding, lag, repair, verify, wait_until_applied
from mynamo.operations.expected_rows import expected_row
from mynamo.operations.mend import lock_item_row, mend
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import load_item
from tests.comparing import gsi_damage
from tests.operations import Damage, fill, key_of, order
from tests.waiting import eventually
from tests.workers import pipeline

pytestmark = pytest.mark.slow

ITEMS = [order(number) for number in range(20)]


@pytest.fixture
def damage(config: ClusterConfig, cluster: Cluster) -> Iterator[Damage]:
    """A table whose indexes are complete, and a pipeline that runs."""
    table = fill(cluster, ITEMS)
    with pipeline(config):
        assert wait_until_applied(cluster, 60), str(lag(cluster))
        yield Damage(cluster, table)


class WriteInBetween:
    """Changes the item of each finding, at the worst moment: before it is mended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mending: Any) -> None:
        self.changed = 0
        self._mending = mending
        monkeypatch.setattr(import_module("mynamo.operations.repair"), "mend", self.mend)

    def mend(self, cluster: Cluster, table: Table, finding: Finding) -> None:
        item = ITEMS[1] | {"name": "changed", "price": 1000 + self.changed}
        remembered = self._mending(cluster, table, finding) if self._mending is stale_mend else None
        with Producer(cluster) as producer:
            producer.put("orders", item)
        assert wait_until_applied(cluster, 60)
        self.changed += 1
        if remembered is not None:
            remembered()
        else:
            self._mending(cluster, table, finding)


def stale_mend(cluster: Cluster, table: Table, finding: Finding) -> Any:
    """What a repair without order among the writes would do: write down what it has read."""
    shard = cluster.shard_of(finding.row.hash)
    query = f"SELECT version, item FROM {sql.main_table(table.id)} WHERE hash = %s AND sort = %s"
    ((version, data),) = shard.run((query, finding.row))[0].rows
    expected = expected_row(cluster, finding.index, load_item(data), version)
    assert expected is not None

    def write() -> None:
        cluster.shards[expected.location.shard].run(
            (f"REPLACE INTO {sql.index_table(finding.index)} VALUES (%s, %s, %s, %s, %s, %s)",
             (*expected.location.of(finding.row), *expected.content))
        )  # fmt: skip

    return write


def test_a_write_before_the_mending_is_not_undone(
    cluster: Cluster, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage.on_row("by_name", ITEMS[1], "DELETE FROM {table}")
    between = WriteInBetween(monkeypatch, mend)
    report = repair(cluster, "orders")
    assert report.ok, str(report)
    assert between.changed == 1
    assert gsi_damage(cluster, "orders") == []


def test_a_mending_out_of_order_would_undo_it(
    cluster: Cluster, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above."""
    damage.on_row("by_name", ITEMS[1], "DELETE FROM {table}")
    WriteInBetween(monkeypatch, stale_mend)
    repair(cluster, "orders")
    assert gsi_damage(cluster, "orders") != []


def test_an_orphaned_row_that_no_event_leads_to_may_become_right(
    cluster: Cluster, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The item gets the very key of the ghost before the ghost is deleted.
    damage.insert_row("by_name", ITEMS[1] | {"name": "changed", "price": 1000}, content=b"junk")
    between = WriteInBetween(monkeypatch, mend)
    report = repair(cluster, "orders")
    assert report.ok, str(report)
    assert between.changed == 1
    assert gsi_damage(cluster, "orders") == []


@pytest.mark.parametrize("exists", [True, False])
def test_nobody_writes_an_item_while_it_is_mended(
    cluster: Cluster, damage: Damage, exists: bool
) -> None:
    item = ITEMS[1] if exists else order(90)
    shard, row = damage.home(item)
    written = threading.Event()

    def write() -> None:
        with Producer(cluster) as producer:
            producer.put("orders", item | {"price": 5})
        written.set()

    writer = threading.Thread(target=write)
    with lock_item_row(cluster, damage.table, row) as (_, locked):
        assert (locked.item is not None) == exists
        writer.start()
        # Until the writer waits for the lock, and not just for the processor.
        eventually(lambda: waits_for_lock(shard), 20)
        assert not written.is_set()
    writer.join(30)
    assert written.is_set()
    assert wait_until_applied(cluster, 60)
    assert verify(cluster, "orders").ok


def waits_for_lock(shard: DynamoDBShard) -> bool:
    """Whether another connection is about to lock a row, and does not get on."""
    query = (
        "SELECT 1 FROM information_schema.processlist WHERE db = DATABASE()"
        " AND id <> CONNECTION_ID() AND info LIKE '%FOR UPDATE%'"
    )
    return bool(shard.run((query, ()))[0].rows)


def test_repairs_beside_writes_and_damage(
    config: ClusterConfig, cluster: Cluster, damage: Damage
) -> None:
    stop = threading.Event()

    def write() -> None:
        with Cluster(config) as own, Producer(own) as producer:
            turn = 0
            while not stop.wait(0.003):
                turn += 1
                item = order(turn % 20, price=turn, name=f"name {turn % 5}")
                if turn % 7:
                    producer.put("orders", item)
                else:
                    producer.delete("orders", key_of(item))

    def harm() -> None:
        turn = 0
        while not stop.wait(0.02):
            turn += 1
            for index in damage.table.global_indexes:
                table = sql.index_table(index)
                for shard in cluster.shards.values():
                    shard.run((f"DELETE FROM {table} ORDER BY RAND() LIMIT 1", ()))
            damage.insert_row("by_name", order(turn % 40, name=f"ghost {turn}"), version=turn)

    threads = [threading.Thread(target=write), threading.Thread(target=harm)]
    for thread in threads:
        thread.start()
    mended = sum(repair(cluster, "orders").mended for _ in range(4))
    stop.set()
    for thread in threads:
        thread.join(30)
    assert mended > 0
    report = repair(cluster, "orders")
    assert report.failed == report.waiting == report.verdict.undecided == 0, str(report)
    assert verify(cluster, "orders").ok
    assert gsi_damage(cluster, "orders") == []
