"""Filling a new index while writes go on: every item, no ghost, whatever dies meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mynamo.catalog import definitions
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.index_status import progress
from mynamo.catalog.tables import Index, RowKey
from mynamo.errors import ShardUnavailable
from mynamo.mysql.pool import Statement
from mynamo.producer import Producer
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import dump_item, load_item
from mynamo.schemas.keys import SLOTS
from mynamo.schemas.table import GlobalIndexSchema, LocalIndexSchema
from mynamo.writer.backfill.chunks import Chunk, next_rows, versions_of
from mynamo.writer.backfill.indexes import activate_if_backfilled, backfill_chunk
from tests.comparing import gsi_damage
from tests.fake_log import Bench
from tests.rows import (
    damaged_local_indexes,
    everywhere,
    items_of,
    leave_out,
    make_table,
    select,
)
from tests.waiting import eventually
from tests.worker_process import worker_process

LOCAL = LocalIndexSchema.model_validate({"name": "by_size", "sort_key": "size:N"})
GLOBAL = GlobalIndexSchema.model_validate({"name": "by_colour", "hash_key": "colour"})
KINDS = pytest.mark.parametrize("schema", [LOCAL, GLOBAL], ids=["LSI", "GSI"])


@pytest.fixture
def cluster(bench: Bench) -> Cluster:
    return bench.cluster


def put(producer: Producer, number: int, turn: int = 0) -> None:
    item = {"id": str(number // 2), "at": str(number % 2), "size": turn, "colour": f"c{turn % 5}"}
    if (number + turn) % 6 == 5:
        del item["size"], item["colour"]
    producer.put("orders", item)


def backfill(cluster: Cluster, index: Index) -> None:
    for shard in cluster.shards.values():
        while backfill_chunk(cluster, shard, index).more:
            pass


def finish(bench: Bench, index: Index) -> None:
    """Do what relays and indexers do, and see the index become ACTIVE."""
    bench.catch_up(bench.indexer())
    assert activate_if_backfilled(bench.cluster, index)
    assert bench.cluster.table("orders").index(index.name).status == "ACTIVE"


def wrongly_backfilled(cluster: Cluster, index: Index) -> list[str]:
    """What the index lacks or has too much."""
    if index.kind == "GSI":
        return gsi_damage(cluster, "orders")
    table = cluster.table("orders")
    return damaged_local_indexes(cluster, table, items_of(cluster, table))


@contextmanager
def applying(bench: Bench) -> Iterator[None]:
    """Let relays and an indexer work for as long as the block runs."""
    done = threading.Event()

    def work() -> None:
        one = bench.indexer()
        while not done.is_set():
            bench.publish()
            one.step(0)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            yield
        finally:
            done.set()
        future.result()


@contextmanager
def writing(cluster: Cluster, items: int) -> Iterator[None]:
    """Put and delete items for as long as the block runs."""
    producer, done = Producer(cluster), threading.Event()

    def work(start: int) -> None:
        turn = start
        while not done.is_set():
            turn += 1
            number = (turn * 7 + start) % items
            if turn % 9 == 0:
                key = {"id": str(number // 2), "at": str(number % 2)}
                producer.delete("orders", key)
            else:
                put(producer, number, turn)

    with ThreadPoolExecutor(3) as pool:
        futures: list[Future[None]] = [pool.submit(work, start) for start in range(3)]
        try:
            yield
        finally:
            done.set()
        for future in futures:
            future.result()


@KINDS
def test_an_index_is_backfilled_while_items_change(
    bench: Bench, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, schema: Any
) -> None:
    monkeypatch.setattr("mynamo.writer.backfill.indexes.CHUNK_ROWS", 11)
    producer = Producer(cluster)
    for number in range(150):
        put(producer, number)
    with writing(cluster, 180), applying(bench):
        index = definitions.add_index(cluster, "orders", schema)
        backfill(cluster, index)
    finish(bench, index)
    assert wrongly_backfilled(cluster, index) == []


@KINDS
def test_a_backfill_that_fails_in_the_middle_goes_on(
    bench: Bench, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, schema: Any
) -> None:
    monkeypatch.setattr("mynamo.writer.backfill.indexes.CHUNK_ROWS", 11)
    producer = Producer(cluster)
    for number in range(100):
        put(producer, number)
    index = definitions.add_index(cluster, "orders", schema)
    # Chunks are written, but the transaction on the source dies before its commit.
    refused = ("SIGNAL SQLSTATE '45000'", ())
    with monkeypatch.context() as patch:
        patch.setattr("mynamo.writer.backfill.indexes.COMMIT", refused)
        patch.setattr("mynamo.writer.backfill.global_index.COMMIT", refused)
        for shard in cluster.shards.values():
            with pytest.raises(ShardUnavailable):
                backfill_chunk(cluster, shard, index)
    backfill(cluster, index)
    finish(bench, index)
    assert wrongly_backfilled(cluster, index) == []


@pytest.mark.parametrize("locking", [True, False])
def test_an_item_that_changes_during_the_backfill_of_an_lsi(
    bench: Bench, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, locking: bool
) -> None:
    """Between reading an item and its row, somebody changes it, unless a lock prevents it."""
    producer = Producer(cluster)
    producer.put("orders", {"id": "a", "at": "1", "size": 1, "colour": "red"})
    index = definitions.add_index(cluster, "orders", LOCAL)
    changing: list[Future[Any]] = []

    def interrupted(data: bytes) -> Any:
        if not changing:
            new = {"id": "a", "at": "1", "size": 2, "colour": "blue"}
            changing.append(pool.submit(producer.put, "orders", new))
            with suppress(TimeoutError):
                changing[0].result(0.7)
        return load_item(data)

    if not locking:
        leave_out(monkeypatch, " LOCK IN SHARE MODE")
    with ThreadPoolExecutor(1) as pool:
        with monkeypatch.context() as patch:
            patch.setattr("mynamo.writer.backfill.indexes.load_item", interrupted)
            backfill(cluster, index)
        changing[0].result(20)
    assert (wrongly_backfilled(cluster, index) == []) == locking


@KINDS
def test_the_highest_and_lowest_keys_are_backfilled(cluster: Cluster, schema: Any) -> None:
    table = cluster.table("orders")
    rows = 0
    for owned in cluster.snapshot.slots:
        first = (owned.first << 4).to_bytes(2, "big") + bytes(14)
        last = (((owned.last + 1) << 4) - 1).to_bytes(2, "big") + b"\xff" * 14
        for number, (hashed, sort) in enumerate(
            [(first, b"\0"), (last, b"\xff" * 1024), (last, b"\xff" * 1023)]
        ):
            item: Any = {"id": {"S": "x"}, "at": {"S": str(number)}, "size": {"N": "1"},
                         "colour": {"S": "red"}}  # fmt: skip
            cluster.shards[owned.shard_id].run(
                (f"INSERT INTO t{table.id} VALUES (%s, %s, 1, %s)", (hashed, sort, dump_item(item)))
            )
            rows += 1
    assert cluster.snapshot.slots[-1].last == SLOTS - 1
    index = definitions.add_index(cluster, "orders", schema)
    backfill(cluster, index)
    done = everywhere(cluster, "SELECT rows_done, finished FROM mynamo_backfill")
    assert sum(count for count, _ in done) == rows
    assert all(finished for _, finished in done)


@KINDS
def test_large_items_are_read_in_small_chunks(
    bench: Bench, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, schema: Any
) -> None:
    monkeypatch.setattr("mynamo.writer.backfill.chunks.CHUNK_BYTES", 100_000)
    sizes = [10, 60_000, 10, 3_000, 120_000, 200, 50_000, 50_000] * 3
    for number, size in enumerate(sizes):
        item = {"id": f"{number}", "at": "1", "size": 1, "colour": "red", "pad": "x" * size}
        bench.producer.put("orders", item)
    index = definitions.add_index(cluster, "orders", schema)
    chunks = 0
    for shard in cluster.shards.values():
        while backfill_chunk(cluster, shard, index).more:
            chunks += 1
    assert chunks > 6
    finish(bench, index)
    assert wrongly_backfilled(cluster, index) == []


def test_items_unfit_for_the_index_are_left_out_and_counted(bench: Bench, cluster: Cluster) -> None:
    producer = Producer(cluster)
    for number in range(10):
        producer.put("orders", {"id": str(number), "at": "1", "size": "large" if number % 2 else 1})
    index = definitions.add_index(cluster, "orders", LOCAL)
    backfill(cluster, index)
    finish(bench, index)
    done = progress(cluster, index)
    assert (done.rows, done.skipped, done.fraction) == (5, 5, 1.0)
    assert wrongly_backfilled(cluster, index) == []


def test_the_next_items_are_a_range_of_the_primary_key(engine_config: ClusterConfig) -> None:
    with Cluster(engine_config) as cluster:
        table = make_table(cluster)
        producer = Producer(cluster)
        for number in range(60):
            put(producer, number)
        shard = cluster.shards[1]
        ((middle, sort),) = select(
            shard, f"SELECT hash, sort FROM t{table.id} ORDER BY hash LIMIT 1 OFFSET 5"
        )
        after = (middle, sort)
        chunk = Chunk(after, (b"\xf0" * 16, b"x"), [], last=False)
        for text, values in (
            next_rows(table, after, 100, lock=False),
            next_rows(table, after, 100, lock=True),
            versions_of(table, chunk),
            versions_of(table, replace(chunk, start=(None, None))),
        ):
            (plan,) = shard.run(("EXPLAIN FORMAT=TRADITIONAL " + text, values))[0].rows
            assert "PRIMARY" in plan
            assert "range" in plan
            assert "filesort" not in str(plan[-1])


def test_a_worker_killed_during_a_backfill(
    cluster: Cluster, config: ClusterConfig, tmp_path: Path
) -> None:
    table = cluster.table("orders")
    batches: dict[int, list[Statement]] = {}
    for number in range(3000):
        row = RowKey(number.to_bytes(2, "big") * 8, b"%d" % number)
        item: Any = {"id": {"S": "x"}, "at": {"S": str(number)}, "size": {"N": str(number)}}
        statement = (
            f"INSERT INTO t{table.id} VALUES (%s, %s, 1, %s)",
            (*row, dump_item(item)),
        )
        batches.setdefault(cluster.shard_of(row.hash).id, []).append(statement)
    for shard_id, statements in batches.items():
        cluster.shards[shard_id].run(("BEGIN", ()), *statements, ("COMMIT", ()))
    definitions.add_index(cluster, "orders", LOCAL)
    progress = "SELECT SUM(rows_done) FROM mynamo_backfill"

    def done() -> int:
        return int(sum(row[0] for row in everywhere(cluster, progress)))

    with worker_process(config, tmp_path) as process:
        eventually(done, 30)
        process.kill()
    assert done() > 0
    with worker_process(config, tmp_path):
        eventually(
            lambda: cluster.refresh().names["orders"].index("by_size").status == "ACTIVE", 60
        )
    assert done() == 3000
    items = items_of(cluster, table)
    assert damaged_local_indexes(cluster, cluster.table("orders"), items) == []
