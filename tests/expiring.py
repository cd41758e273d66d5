"""Tables with time to live, without workers."""

from __future__ import annotations

import threading
import time
from typing import Any

from mynamo.catalog import time_to_live
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Index
from mynamo.producer import Producer
from mynamo.reader import Reader
from mynamo.writer.backfill import indexes
from mynamo.writer.expirer import Expirer
from tests.rows import damaged_local_indexes, everywhere, items_of
from tests.waiting import eventually


def enabled(cluster: Cluster, name: str = "orders", attribute: str = "until") -> Index:
    """Enable time to live, and do what a writer worker would."""
    time_to_live.enable(cluster, name, attribute)
    return finished(cluster, name)


def finished(cluster: Cluster, name: str) -> Index:
    """Do what a writer worker would for a time to live that is being enabled."""
    index = cluster.refresh().names[name].time_to_live
    assert index is not None
    for shard in cluster.shards.values():
        while indexes.backfill_chunk(cluster, shard, index).more:
            pass
    assert indexes.activate_if_backfilled(cluster, index)
    found = cluster.table(name).time_to_live
    assert found is not None
    return found


def now() -> int:
    return int(time.time())


def expire(cluster: Cluster, stop: threading.Event | None = None) -> int:
    """One round on each shard, until the servers have let go of its locks: they do so some time
    after the connection is closed, and who comes before that does nothing."""
    stopped = stop or threading.Event()
    deleted = sum(Expirer(cluster, shard, stopped).round() for shard in cluster.shards.values())
    eventually(lambda: set(everywhere(cluster, _IS_FREE)) == {(1,)}, what="locks are free")
    return deleted


_IS_FREE = "SELECT IS_FREE_LOCK(CONCAT('mynamo.expiry.', LEFT(DATABASE(), 50)))"


def ids(cluster: Cluster, name: str = "orders") -> set[str]:
    return {str(item["id"]) for item in Reader(cluster).scan(name, limit=1000).items}


def put(producer: Producer, id_: str, until: Any = None, table: str = "orders") -> None:
    item: dict[str, Any] = {"id": id_, "at": "1", "price": 1, "name": "n"}
    producer.put(table, item if until is None else {**item, "until": until})


def enabled_index(cluster: Cluster) -> Index:
    index = cluster.table("orders").time_to_live
    assert index is not None
    return index


def damage_of_expiries(cluster: Cluster) -> list[str]:
    table = cluster.table("orders")
    return damaged_local_indexes(cluster, table, items_of(cluster, table))
