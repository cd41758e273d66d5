"""Figures of tables and indexes, on real servers of both engines."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mynamo.catalog import definitions, sql, statistics
from mynamo.catalog.statistics import Size, Statistics
from mynamo.errors import ShardUnavailable
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import dump_item, to_stored
from tests.fake_log import Bench
from tests.waiting import eventually

THINGS = {
    "name": "things",
    "hash_key": "id",
    "sort_key": "at:N",
    "local_indexes": [{"name": "by_size", "sort_key": "size:N"}],
    "global_indexes": [
        {"name": "by_colour", "hash_key": "colour", "projection": {"type": "KEYS_ONLY"}}
    ],
}


@pytest.fixture
def bench(engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(engine_config, monkeypatch)
    bench.create(THINGS)
    yield bench
    bench.close()


def fill(bench: Bench, count: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = [
        {"id": f"i{n % 7}", "at": n, "pad": "x" * n} for n in range(count)
    ]
    for number, item in enumerate(items):
        if number % 2:
            item["size"] = number
        if number % 3 == 0:
            item["colour"] = f"c{number % 2}"
        bench.producer.put("things", item)
    bench.catch_up(bench.indexer())
    return items


def figures(bench: Bench) -> statistics.TableStatistics:
    """Fresh ones."""
    return Statistics(bench.cluster, max_age=0).of(bench.cluster.table("things"))


def test_small_tables_are_counted_exactly(bench: Bench) -> None:
    empty = figures(bench)
    assert (empty.table, empty.indexes["by_colour"]) == (Size(0, 0), Size(0, 0))
    items = fill(bench, 30)
    found = figures(bench)
    stored = sum(len(dump_item(to_stored(item))) for item in items)
    assert found.table == Size(30, stored, exact=True)
    assert found.indexes["by_size"].items == 15
    assert found.indexes["by_colour"].items == 10
    assert 0 < found.indexes["by_colour"].bytes < stored
    bench.producer.delete("things", {"id": "i1", "at": 1})
    assert figures(bench).table.items == 29


def test_beyond_the_bound_innodb_estimates(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(bench, 30)
    read: list[int] = []
    monkeypatch.setattr(statistics, "EXACT_ROWS", 5)
    name = sql.main_table(bench.cluster.table("things").id)
    for shard in bench.cluster.shards.values():
        query = statistics.count_rows(name, bench.cluster.table("things"))
        read.append(shard.run(query)[0].rows[0][0])
    assert max(read) == 6  # no more than the bound is read
    estimated = figures(bench).table
    assert not estimated.exact
    # InnoDB counts the rows of so small a table right, and its pages as a whole.
    assert estimated.items == 30
    assert estimated.bytes >= 16384
    assert isinstance(estimated.items, int)
    assert isinstance(estimated.bytes, int)


def test_large_tables_are_not_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(bench, 4)
    monkeypatch.setattr(statistics, "EXACT_BYTES", 3 * 16384)

    def refuse(name: str, table: Any, hidden: Any) -> Any:
        assert name != sql.main_table(table.id), "the table was counted"
        return count_rows(name, table, hidden)

    count_rows = statistics.count_rows
    with monkeypatch.context() as patch:
        patch.setattr(statistics, "tables_to_count", lambda figures: list(figures))
        patch.setattr(statistics, "count_rows", refuse)
        with pytest.raises(AssertionError, match="the table was counted"):  # the control
            figures(bench)
    monkeypatch.setattr(statistics, "EXACT_BYTES", 16383)
    monkeypatch.setattr(statistics, "count_rows", refuse)
    assert not figures(bench).table.exact


def test_estimates_are_of_now(bench: Bench) -> None:
    """MySQL would otherwise answer for a day with what it said first."""
    table = bench.cluster.table("things")

    def rows() -> int:
        return sum(
            {name: count for name, count, _ in shard.run(statistics.estimates(table))[0].rows}[
                sql.main_table(table.id)
            ]
            for shard in bench.cluster.shards.values()
        )

    assert rows() == 0
    fill(bench, 10)
    eventually(lambda: rows() == 10, 30)


def test_figures_are_kept_for_a_while(bench: Bench) -> None:
    kept = Statistics(bench.cluster, max_age=3600)
    table = bench.cluster.table("things")
    assert kept.of(table).table.items == 0
    fill(bench, 3)
    assert kept.of(table).table.items == 0
    assert figures(bench).table.items == 3


def test_of_a_shard_that_is_down_the_last_figures_count(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench, 20)
    all_shards = Statistics(bench.cluster, max_age=0)
    table = bench.cluster.table("things")
    assert all_shards.of(table).table.items == 20

    def refuse(*_: object) -> None:
        raise ShardUnavailable

    monkeypatch.setattr(bench.cluster.shards[1], "session", refuse)
    assert all_shards.of(table).table.items == 20
    assert 0 < Statistics(bench.cluster).of(table).table.items < 20


def test_while_a_shard_keeps_one_caller_waiting_the_others_have_the_last_figures(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench, 20)
    kept = Statistics(bench.cluster, max_age=0)
    table = bench.cluster.table("things")
    assert kept.of(table).table.items == 20
    asked, answers = threading.Event(), threading.Event()
    session = bench.cluster.shards[1].session

    def stall() -> Any:
        asked.set()
        assert answers.wait(60)
        return session()

    monkeypatch.setattr(bench.cluster.shards[1], "session", stall)
    with ThreadPoolExecutor(2) as pool:
        try:
            counting = pool.submit(kept.of, table)
            assert asked.wait(60)
            assert pool.submit(kept.of, table).result(30).table.items == 20
            assert not counting.done()
        finally:
            answers.set()
        assert counting.result().table.items == 20


def test_a_dropped_index_has_no_figures(bench: Bench) -> None:
    fill(bench, 5)
    before = bench.cluster.table("things")
    definitions.drop_index(bench.cluster, "things", "by_size")
    old = Statistics(bench.cluster).of(before)  # by a definition that is out of date
    assert (old.table.items, old.indexes["by_size"]) == (5, Size())
    assert "by_size" not in figures(bench).indexes
