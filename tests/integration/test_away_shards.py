"""One of three servers is frozen or dead: indexers and queued writes of the others go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from mynamo.catalog import definitions, sql
from mynamo.catalog.cluster import Cluster
from mynamo.gsi_indexer import run_indexer
from mynamo.local import LocalCluster
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig, PoolConfig
from mynamo.schemas.items import to_stored
from mynamo.schemas.table import TableSchema
from mynamo.writer.worker import run_writer
from tests.comparing import gsi_damage, gsi_rows
from tests.fake_log import waiting_events
from tests.rows import items_of
from tests.servers import away
from tests.waiting import eventually

pytestmark = pytest.mark.slow

AWAY = 3
"""The catalog is on the server of shard 1."""
POOL = PoolConfig(breaker_opens_after=2.0, breaker_probe_after=0.5)
THINGS = {
    "name": "things",
    "hash_key": "id",
    "global_indexes": [{"name": "by_group", "hash_key": "group"}],
}


@contextmanager
def working(config: ClusterConfig) -> Iterator[None]:
    """A writer and an indexer in threads, with connections of their own."""
    stop = threading.Event()

    def work(worker: Callable[[Cluster, threading.Event], None]) -> None:
        with Cluster(config) as cluster:
            worker(cluster, stop)

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(work, worker) for worker in (run_writer, run_indexer)]
        try:
            yield
        finally:
            stop.set()
            for each in running:
                each.result(60)


def places(cluster: Cluster) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Names of items and of groups, by the shard that they are on."""
    table = cluster.table("things")
    items: dict[int, list[str]] = {shard: [] for shard in cluster.shards}
    groups: dict[int, list[str]] = {shard: [] for shard in cluster.shards}
    for number in range(120):
        stored = to_stored({"id": f"n{number}", "group": f"n{number}"})
        items[cluster.shard_of(table.key_of(stored).hash).id].append(f"n{number}")
        place = table.index("by_group").key_of(stored)
        assert place is not None
        groups[cluster.shard_of(place.hash).id].append(f"n{number}")
    return items, groups


@pytest.mark.parametrize("fault", ["dead", "frozen"])
def test_all_else_goes_on(private_cluster: Callable[..., LocalCluster], fault: str) -> None:
    servers = private_cluster(3, kafka="embedded", partitions=4)
    config = servers.config.model_copy(update={"pool": POOL})
    with Cluster(config) as cluster, Producer(cluster) as producer, working(config):
        definitions.create_table(cluster, TableSchema.parse(THINGS))
        items, groups = places(cluster)
        for shard in cluster.shards:
            producer.put("things", {"id": items[shard][0], "group": groups[shard][0]})
        eventually(lambda: waiting_events(cluster) == 0, 60)
        with away(servers.shards[AWAY], fault):
            for number in range(1, 20):
                # Of shard 1 to the one that is away, and of shard 2 to shard 1: all partitions.
                producer.put("things", {"id": items[1][number], "group": groups[AWAY][0]})
                producer.put("things", {"id": items[2][number], "group": groups[1][0]})
            producer.publish(
                *(producer.queued_put("things", {"id": name}) for name in items[AWAY][:3])
            )

            def shown() -> set[str]:
                rows = rows_on(cluster, 1)
                return {name for name in items[2][1:20] if b'"%s"' % name.encode() in rows}

            eventually(lambda: shown() == set(items[2][1:20]), 60)
        eventually(lambda: waiting_events(cluster) == 0, 120)
        eventually(lambda: len(items_of(cluster, cluster.table("things"))) == 2 * 19 + 3 + 2, 60)
        eventually(lambda: waiting_events(cluster) == 0, 60)
        assert gsi_damage(cluster, "things") == []
        assert len(gsi_rows(cluster, cluster.table("things").index("by_group"))) >= 2 * 19


def rows_on(cluster: Cluster, shard_id: int) -> bytes:
    """All that an index's rows on a shard say, one after another."""
    table = sql.index_table(cluster.table("things").index("by_group"))
    rows = cluster.shards[shard_id].run((f"SELECT item FROM {table}", ()))[0].rows
    return b"\n".join(bytes(row[0]) for row in rows)
