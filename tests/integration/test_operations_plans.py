"""The statements of verify, repair and lag use their indexes, on each engine."""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import RowKey
from mynamo.mysql.pool import Statement
from mynamo.operations import comparison_statements, pipeline
from mynamo.operations.checksums import bucket_end, bucket_of
from mynamo.operations.comparison_statements import IndexRow, Span
from mynamo.schemas.config import ClusterConfig
from tests.operations import fill

ROWS = 3000
HANDLER_READS: Statement = ("SHOW SESSION STATUS LIKE 'Handler_read%'", ())
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
        _insert(shard, "mynamo_intent", [
            (table.id, h, s, b"t" * 16, 1, 1, 1, b"x", None, 1) for h, s in keys
        ])  # fmt: skip
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
    steps = shard.run((text, statement[1]))[0].rows
    if "ORDER BY" in statement[0]:  # MariaDB sorts the few groups of a GROUP BY too
        assert not any("filesort" in str(step[-1]) for step in steps), statement[0]
    return [(step[kind], step[key]) for step in steps]


def rows_read(shard: DynamoDBShard, statement: Statement) -> int:
    """How many rows a statement reads, by the server's own counters."""
    with shard.session() as session:
        counters = [
            sum(int(row[1]) for row in session.run(HANDLER_READS)[0].rows)
            for run in (("SELECT 1", ()), ("SELECT 1", ()), statement)
            if session.run(run)
        ]
    return counters[2] - counters[1] - (counters[1] - counters[0])  # without those of the counters


def test_statements_use_their_indexes(engine_config: ClusterConfig, shard: DynamoDBShard) -> None:
    with Cluster(engine_config) as cluster:
        table = cluster.table("orders")
    local, by_name = table.index("by_price"), table.index("by_name")
    main = shard.run((f"SELECT hash, sort FROM {sql.main_table(table.id)} LIMIT 20", ()))[0].rows
    first = RowKey(*main[0])
    local_keys = [(h, b"q", s) for h, s in main]
    global_keys = [IndexRow(h, b"q", h, s) for h, s in main]
    scan, join = [("range", "PRIMARY")], [("range", "PRIMARY"), ("eq_ref", "PRIMARY")]
    low, high = first.hash, bucket_end(bucket_of(first.hash) + 2000)
    for high_end in (high, None):
        for items in (Span(low, high_end), Span(low, high_end, first)):
            assert plan(shard, comparison_statements.item_sizes(table, items)) == scan
            assert plan(shard, comparison_statements.items(table, items, 10)) == scan
            for last in (None, main[1]):
                look = comparison_statements.intents_on_rows(table, items, last)
                assert plan(shard, look) == scan
            # What is not PRIMARY is the sum of the numbers that the range gave.
            assert plan(shard, comparison_statements.item_bytes(table, items))[1:] == scan
        for rows in (Span(low, high_end), Span(low, high_end, local_keys[0])):
            assert plan(shard, comparison_statements.local_row_sizes(local, rows)) == join
            assert plan(shard, comparison_statements.local_rows(local, rows, 10)) == join
            assert plan(shard, comparison_statements.index_digests(local, 1, rows, 100)) == scan
            assert plan(shard, comparison_statements.index_row_at(local, rows, 100)) == scan
        for rows in (Span(low, high_end), Span(low, high_end, global_keys[0])):
            assert plan(shard, comparison_statements.global_rows(by_name, rows)) == scan
            assert plan(shard, comparison_statements.index_digests(by_name, 1, rows, 100)) == scan
            assert plan(shard, comparison_statements.index_row_at(by_name, rows, 100)) == scan
    assert plan(shard, comparison_statements.items_of(table, main)) == scan
    assert plan(shard, comparison_statements.item_sizes_of(table, main)) == scan
    assert plan(shard, comparison_statements.versions_of(table, main)) == scan
    assert plan(shard, comparison_statements.local_rows_of(local, local_keys)) == scan
    assert plan(shard, comparison_statements.global_rows_of(by_name, global_keys)) == scan
    one = [("const", "PRIMARY")]
    assert plan(shard, comparison_statements.items_of(table, main[:1])) == one
    assert plan(shard, comparison_statements.versions_of(table, main[:1])) == one
    assert plan(shard, comparison_statements.local_rows_of(local, local_keys[:1])) == one
    assert plan(shard, comparison_statements.global_rows_of(by_name, global_keys[:1])) == one
    assert plan(shard, comparison_statements.lock_item(table, first)) == one
    assert plan(shard, comparison_statements.whole_row(table, first, lock=True)) == one
    assert plan(shard, comparison_statements.event_of(5)) == one
    assert plan(shard, comparison_statements.delete_placeholder(table, first)) == scan
    assert (
        plan(shard, comparison_statements.delete_global(by_name, global_keys[0], 1, b"x")) == scan
    )


def test_a_chunk_reads_no_more_than_its_rows(
    engine_config: ClusterConfig, shard: DynamoDBShard
) -> None:
    """Whatever the size of the table, and wherever in it the chunk lies."""
    with Cluster(engine_config) as cluster:
        table = cluster.table("orders")
    local, by_name = table.index("by_price"), table.index("by_name")
    middle = shard.run(
        (f"SELECT hash, sort FROM {sql.main_table(table.id)} ORDER BY hash, sort LIMIT 1500, 1", ())
    )[0].rows[0]
    row = RowKey(*middle)
    items = Span(bytes(16), None, row)
    locations = Span(bytes(16), None, (row.hash, b"q", row.sort))
    global_places = Span(bytes(16), None, (row.hash, b"q", *row))
    few = 2 * 50 + 5  # a join reads two rows for each
    for statement in (
        comparison_statements.items(table, items, 50),
        comparison_statements.local_rows(local, locations, 50),
        comparison_statements.index_digests(local, 1, locations, 50),
        comparison_statements.index_row_at(local, locations, 50),
        comparison_statements.index_digests(by_name, 1, global_places, 50),
        comparison_statements.index_row_at(by_name, global_places, 50),
    ):
        assert 0 < rows_read(shard, statement) <= few, statement[0]
    assert rows_read(shard, (f"SELECT MAX(version) FROM {sql.main_table(table.id)}", ())) > few


def test_the_outbox_is_not_read_whole(engine_config: ClusterConfig, shard: DynamoDBShard) -> None:
    with Cluster(engine_config) as cluster:
        table = cluster.table("orders")
    waiting = [(kind, "by_sequence") for kind in ("range", "ref", "ref_or_null")]
    for statement in (
        pipeline.unsequenced_up_to(ROWS),
        comparison_statements.last_event(table, b"x", 1, ROWS - 300, ROWS),
        lagging.UNSEQUENCED,
        lagging.UNSEQUENCED_FEEDING,
        lagging.unpublished_above(ROWS - 200),
        lagging.unapplied_above(ROWS - 200),
    ):
        assert plan(shard, statement)[0] in waiting, statement[0]
    assert plan(shard, lagging.average_size(1, ROWS)) == [("range", "PRIMARY")]
