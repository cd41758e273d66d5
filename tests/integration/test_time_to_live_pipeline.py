"""Time to live beside indexers and moves of slots."""

from __future__ import annotations

import threading
from functools import partial
from unittest import mock

import pytest

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Table
from mynamo.operations import verify, wait_until_applied
from mynamo.operations.resharding import mover as mover_module
from mynamo.operations.resharding.mover import Mover
from mynamo.producer import Producer
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import to_stored
from mynamo.writer.expirer import Expirer
from tests.expiring import damage_of_expiries, enabled, enabled_index, expire, ids, now, put
from tests.rows import select
from tests.waiting import eventually
from tests.workers import pipeline


@pytest.fixture(autouse=True)
def quick_cleaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover_module, "CLEAN_AFTER", 0.2)
    # Workers leave it to the tests.
    monkeypatch.setattr("mynamo.writer.worker._expire", lambda _, stop: stop.wait())


@pytest.fixture
def table(cluster: Cluster, orders: Table) -> Table:
    """The table `orders`, whose items expire by `until`."""
    enabled(cluster)
    return cluster.table("orders")


def test_global_indexes_follow(
    config: ClusterConfig, cluster: Cluster, table: Table, producer: Producer
) -> None:
    for number in range(20):
        put(producer, f"i{number}", now() + 1000)
        put(producer, f"gone{number}", now() - 5)
    with pipeline(config):
        assert wait_until_applied(cluster)
        query = partial(Reader(cluster).query, "orders", "n", index="by_name", limit=100)
        assert len(query().items) == 40
        assert expire(cluster) == 20
        eventually(lambda: len(query().items) == 20)
        assert verify(cluster, "orders").ok


# -- beside moves of slots ---------------------------------------------------------------------


def test_expiries_move_with_their_slots(
    config: ClusterConfig,
    cluster: Cluster,
    table: Table,
    producer: Producer,
) -> None:
    for number in range(60):
        put(producer, f"i{number}", now() + (1000 if number % 2 else -1000))
    owned = next(one for one in cluster.refresh().slots if one.shard_id == 1)
    with pipeline(config):
        Mover(cluster).move(owned.first, owned.last, 2)
        name = sql.index_table(enabled_index(cluster))
        assert select(cluster.shards[1], f"SELECT COUNT(*) FROM {name}") == ((0,),)
        assert damage_of_expiries(cluster) == []
        assert expire(cluster) == 30
        assert len(ids(cluster)) == 30
        assert verify(cluster, "orders").ok


def test_copies_that_are_on_their_way_do_not_expire(
    config: ClusterConfig, cluster: Cluster, table: Table, producer: Producer
) -> None:
    """The target has the rows, and does not own the slots: their owner deletes the items."""
    for number in range(40):
        put(producer, f"i{number}", now() - 1000)
    owned = next(one for one in cluster.refresh().slots if one.shard_id == 1)
    seen: list[tuple[int, int]] = []
    stop = threading.Event()

    def look(label: str) -> None:
        if label == "move.6" and not seen:
            counts = [Expirer(cluster, cluster.shards[n], stop).round() for n in (2, 1)]
            seen.append((counts[0], counts[1]))

    on_1 = len({i for i in range(40) if shard_id_of(cluster, table, i) == 1})
    with (
        pipeline(config),
        mock.patch("mynamo.operations.resharding.mover.crash_point", look),
    ):
        Mover(cluster).move(owned.first, owned.last, 2)
    assert seen == [(40 - on_1, on_1)]
    assert damage_of_expiries(cluster) == []
    assert ids(cluster) == set()


def shard_id_of(cluster: Cluster, table: Table, number: int) -> int:
    return cluster.shard_of(table.key_of(to_stored({"id": f"i{number}", "at": "1"})).hash).id
