"""The statements of verify, repair and lag use their indexes, on each engine."""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from mynamo.operations import pipeline, statements
from mynamo.operations.statements import IndexRow
from mynamo.schemas.config import ClusterConfig
from mynamo.shards import sql
from mynamo.shards.cluster import Cluster
from mynamo.shards.pool import Statement
from mynamo.shards.shard import DynamoDBShard
from mynamo.shards.tables import RowKey
from tests.operations import fill

ROWS = 3000
lagging = import_module("mynamo.operations.lag")
"""The module; in the package, its name is that of the function."""


@pytest.fixture
def shard(engine_config: ClusterConfig) -> Iterator[DynamoDBShard]:
    """A shard with enough rows that reading all of them does not pay."""
    with Cluster(engine_config) as cluster:
        table = fill(cluster, ())
        shard = cluster.shards[1]
        numbers = random.Random(1)
        keys = [(numbers.randbytes(16), numbers.randbytes(8)) for _ in range(ROWS)]
        _insert(shard, sql.main_table(table.id), [(h, s, 1, b"x" * 200) for h, s in keys])
        for index in table.indexes:
            local = index.kind == "LSI"
            rows = [(h, b"q", s) if local else (h, b"q", h, s, 1, b"x" * 200) for h, s in keys]
            _insert(shard, sql.index_table(index), rows)
        # Nearly all of the outbox is applied; some wait for their number.
        _insert(shard, "mynamo_outbox", [
            (n + 1, n if n < ROWS - 100 else None, 0, n % 4, 1, table.id, None, b"w" * 16, 1, b"{}")
            for n in range(ROWS)
        ])  # fmt: skip
        yield shard


def _insert(shard: DynamoDBShard, table: str, rows: list[tuple[Any, ...]]) -> None:
    one = "(" + ", ".join(["%s"] * len(rows[0])) + ")"
    for start in range(0, len(rows), 500):
        some = rows[start : start + 500]
        values = [value for row in some for value in row]
        shard.run((f"INSERT INTO {table} VALUES {', '.join([one] * len(some))}", values))
    shard.run((f"ANALYZE TABLE {table}", ()))


def plan(shard: DynamoDBShard, statement: Statement) -> list[tuple[str, str]]:
    """Type of access and index of each step, by both servers' EXPLAIN."""
    maria = "MariaDB" in shard.run(("SELECT VERSION()", ()))[0].rows[0][0]
    text = ("EXPLAIN " if maria else "EXPLAIN FORMAT=TRADITIONAL ") + statement[0]
    kind, key = (3, 5) if maria else (4, 6)
    return [(row[kind], row[key]) for row in shard.run((text, statement[1]))[0].rows]


def test_statements_use_their_indexes(engine_config: ClusterConfig, shard: DynamoDBShard) -> None:
    with Cluster(engine_config) as cluster:
        table = cluster.table("orders")
    local, by_name = table.index("by_price"), table.index("by_name")
    main = shard.run((f"SELECT hash, sort FROM {sql.main_table(table.id)} LIMIT 20", ()))[0].rows
    first = RowKey(*main[0])
    local_keys = [(h, b"q", s) for h, s in main]
    global_keys = [IndexRow(h, b"q", h, s) for h, s in main]
    walk, join = [("range", "PRIMARY")], [("range", "PRIMARY"), ("eq_ref", "PRIMARY")]
    assert plan(shard, statements.item_sizes(table, first)) == walk
    assert plan(shard, statements.items(table, first, 10)) == walk
    assert plan(shard, statements.local_row_sizes(local, local_keys[0])) == join
    assert plan(shard, statements.local_rows(local, local_keys[0], 10)) == join
    assert plan(shard, statements.global_rows(by_name, global_keys[0])) == walk
    assert plan(shard, statements.items_of(table, main)) == walk
    assert plan(shard, statements.item_sizes_of(table, main)) == walk
    assert plan(shard, statements.versions_of(table, main)) == walk
    assert plan(shard, statements.local_rows_of(local, local_keys)) == walk
    assert plan(shard, statements.global_rows_of(by_name, global_keys)) == walk
    one = [("const", "PRIMARY")]
    assert plan(shard, statements.items_of(table, main[:1])) == one
    assert plan(shard, statements.versions_of(table, main[:1])) == one
    assert plan(shard, statements.local_rows_of(local, local_keys[:1])) == one
    assert plan(shard, statements.global_rows_of(by_name, global_keys[:1])) == one
    assert plan(shard, statements.lock_item(table, first)) == one
    assert plan(shard, statements.event_of(5)) == one
    assert plan(shard, statements.leave_place(table, first)) == walk
    assert plan(shard, statements.delete_global(by_name, global_keys[0], 1, b"x")) == walk


def test_the_outbox_is_not_read_whole(engine_config: ClusterConfig, shard: DynamoDBShard) -> None:
    with Cluster(engine_config) as cluster:
        table = cluster.table("orders")
    waiting = [("range", "by_sequence"), ("ref", "by_sequence")]
    for statement in (
        pipeline.unsequenced_up_to(ROWS),
        statements.last_event(table, b"x", 1, ROWS - 300, ROWS),
        lagging.UNSEQUENCED,
        lagging.UNSEQUENCED_FEEDING,
        lagging.unpublished_above(ROWS - 200),
        lagging.unapplied_above(ROWS - 200),
    ):
        assert plan(shard, statement)[0] in waiting, statement[0]
    assert plan(shard, lagging.average_size(1, ROWS)) == [("range", "PRIMARY")]
