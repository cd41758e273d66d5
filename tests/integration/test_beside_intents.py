"""Whoever reads main tables sees items as they are without intents, and no placeholder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mynamo.catalog import definitions, statistics
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.intents import Action, Intent
from mynamo.catalog.statistics import Statistics
from mynamo.catalog.tables import Table
from mynamo.errors import CorruptData
from mynamo.operations.mend import lock_item_row
from mynamo.producer import Producer
from mynamo.reader import Reader, access_paths, between
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.table import GlobalIndexSchema, LocalIndexSchema
from mynamo.writer.backfill import chunks, indexes
from mynamo.writer.backfill.re_emit import re_emit
from tests.comparing import gsi_damage, gsi_rows
from tests.fake_log import Bench
from tests.integration import test_backfill
from tests.intents import apply, place, placed
from tests.rows import damaged_local_indexes, everywhere, items_of, make_table

LOCAL = LocalIndexSchema.model_validate({"name": "by_size", "sort_key": "size:N"})
GLOBAL = GlobalIndexSchema.model_validate({"name": "by_colour", "hash_key": "colour"})
KEYS = [{"id": name, "at": str(n)} for name in ("a", "b", "c") for n in range(12)]
LARGE = "x" * 3000
"""More than a backfill reads at once."""


@pytest.fixture
def bench(engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(engine_config, monkeypatch)
    make_table(bench.cluster)
    yield bench
    bench.close()


@pytest.fixture
def cluster(bench: Bench) -> Cluster:
    return bench.cluster


@pytest.fixture
def orders(cluster: Cluster) -> Table:
    return cluster.table("orders")


def fill(cluster: Cluster) -> None:
    """Two of three items of `KEYS`."""
    with Producer(cluster) as producer:
        for n, key in enumerate(KEYS):
            if n % 3:
                more = {"pad": LARGE} if n % 4 == 0 else {}
                producer.put(
                    "orders",
                    {
                        **key,
                        "price": n,
                        "name": f"n{n % 2}",
                        "size": n,
                        "colour": f"c{n % 2}",
                        **more,
                    },
                )


def place_all(cluster: Cluster, orders: Table) -> list[Intent]:
    """Intents of all actions on half of the items, and on all that are absent."""
    actions = [*Action]
    return [
        place(cluster, orders, {**key, "price": 1000, "name": "new"}, actions[n // 2 % 3])
        for n, key in enumerate(KEYS)
        if n % 3 == 0 or n % 2
    ]


def everything_read(cluster: Cluster) -> list[Any]:
    """What each kind of read shows."""
    read = Reader(cluster)
    shown: list[Any] = [read.get("orders", key) for key in KEYS]
    shown.append(read.batch_get("orders", KEYS))
    shown.append(read.transact_get([("orders", key) for key in KEYS]))
    for index in (None, "by_price"):
        for descending in (False, True):
            shown.append([*read.query_all("orders", "b", index=index, descending=descending)])
            token, pages = None, []
            while True:
                page = read.query(
                    "orders", "b", index=index, limit=3, descending=descending, page_token=token
                )
                pages.append((page.items, page.count))
                token = page.page_token
                if token is None:
                    break
            shown.append(pages)
        shown.append([*read.scan_all("orders", index=index)])
    shown.append(read.query("orders", "a", sort=between("1", "5")).items)
    shown.append([*read.query_all("orders", "n1", index="by_name")])
    for segment in range(3):
        shown.append(read.scan("orders", segment=segment, total_segments=3, count=True).count)
    return shown


def test_reads_show_items_as_they_are(cluster: Cluster, orders: Table, bench: Bench) -> None:
    fill(cluster)
    bench.catch_up(bench.indexer())
    before = everything_read(cluster)
    intents = place_all(cluster, orders)
    assert everything_read(cluster) == before
    assert placed(cluster, intents)


def test_control_queries_that_do_not_leave_placeholders_out(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cluster)
    place_all(cluster, orders)
    monkeypatch.setattr(access_paths, "IS_ITEM", "version >= 0")
    with pytest.raises(CorruptData):
        Reader(cluster).query("orders", "b")
    with pytest.raises(CorruptData):
        Reader(cluster).scan("orders")


def test_figures_do_not_count_placeholders(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cluster)
    before = Statistics(cluster, max_age=0).of(orders)
    place_all(cluster, orders)
    assert Statistics(cluster, max_age=0).of(orders) == before
    monkeypatch.setattr(statistics, "IS_ITEM", "version >= 0")
    assert Statistics(cluster, max_age=0).of(orders).table.items == len(KEYS)


def wrongly_backfilled(cluster: Cluster) -> list[str]:
    """What the indexes lack or have too much."""
    table = cluster.table("orders")
    return gsi_damage(cluster, "orders") + damaged_local_indexes(
        cluster, table, items_of(cluster, table)
    )


def backfill(bench: Bench, schema: LocalIndexSchema | GlobalIndexSchema) -> None:
    index = definitions.add_index(bench.cluster, "orders", schema)
    test_backfill.backfill(bench.cluster, index)
    test_backfill.finish(bench, index)


@pytest.mark.parametrize("schema", [LOCAL, GLOBAL], ids=["LSI", "GSI"])
@pytest.mark.parametrize("rows", [1, 1000])
def test_a_new_index_is_backfilled(
    bench: Bench,
    cluster: Cluster,
    orders: Table,
    schema: LocalIndexSchema | GlobalIndexSchema,
    rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(indexes, "CHUNK_ROWS", rows)
    fill(cluster)
    intents = place_all(cluster, orders)
    backfill(bench, schema)
    assert wrongly_backfilled(cluster) == []
    index = cluster.table("orders").index(schema.name)
    if schema is GLOBAL:
        assert len(gsi_rows(cluster, index)) == len([n for n in range(len(KEYS)) if n % 3])
    assert placed(cluster, intents)


def test_control_a_backfill_that_takes_marks_for_versions(
    bench: Bench, cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cluster)
    place_all(cluster, orders)
    monkeypatch.setattr(chunks, "OWN_VERSION", "version")
    backfill(bench, GLOBAL)
    assert any("stale" in line for line in wrongly_backfilled(cluster))


def test_control_a_backfill_that_reads_placeholders(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cluster)
    place_all(cluster, orders)
    monkeypatch.setattr(chunks, "IS_ITEM", "version >= 0")
    with pytest.raises(CorruptData):
        test_backfill.backfill(cluster, definitions.add_index(cluster, "orders", GLOBAL))


def test_an_item_whose_intent_is_applied_behind_a_backfill(
    bench: Bench, cluster: Cluster, orders: Table
) -> None:
    """The row of the index is that of the item before; the event of the intent follows it."""
    fill(cluster)
    puts = [
        place(cluster, orders, {**key, "name": "new", "colour": "new"})
        for n, key in enumerate(KEYS)
        if n % 2
    ]
    deletions = [
        place(cluster, orders, key, Action.DELETE) for n, key in enumerate(KEYS) if n % 6 == 4
    ]
    backfill(bench, GLOBAL)
    assert wrongly_backfilled(cluster) == []
    apply(cluster, cluster.table("orders"), *puts, *deletions)
    assert gsi_damage(cluster, "orders") != []
    bench.catch_up(bench.indexer())
    assert gsi_damage(cluster, "orders") == []


def test_dropping_a_table_deletes_its_intents(cluster: Cluster, orders: Table) -> None:
    fill(cluster)
    place_all(cluster, orders)
    others = make_table(cluster, "others")
    kept = [place(cluster, others, key) for key in KEYS]
    definitions.drop_table(cluster, "orders")
    assert {
        table_id for (table_id,) in everywhere(cluster, "SELECT table_id FROM mynamo_intent")
    } == {others.id}
    assert placed(cluster, kept)


def test_an_item_is_locked_by_the_placeholder_that_is_there(
    cluster: Cluster, orders: Table
) -> None:
    """No second one is inserted, and it stays."""
    key = {"id": "a", "at": "0"}
    intent = place(cluster, orders, key)
    with lock_item_row(cluster, orders, intent.row) as (_, locked):
        assert (locked.readable, locked.item, locked.version) == (True, None, 0)
    assert placed(cluster, [intent])
    ghost = {"id": {"S": "a"}, "at": {"S": "0"}, "name": {"S": "x"}}
    assert re_emit(cluster, orders, orders.index("by_name"), intent.row) == 0
    assert re_emit(cluster, orders, orders.index("by_name"), intent.row, ghost) > 0
    assert placed(cluster, [intent])
    assert everywhere(cluster, "SELECT item_version FROM mynamo_outbox") == [(0,)]


def test_a_marked_item_is_locked_and_re_emitted_by_its_own_version(
    cluster: Cluster, orders: Table
) -> None:
    key = {"id": "a", "at": "0"}
    with Producer(cluster) as producer:
        version = producer.put("orders", {**key, "name": "x"}).version
    intent = place(cluster, orders, key, Action.DELETE)
    with lock_item_row(cluster, orders, intent.row) as (_, locked):
        assert (locked.readable, locked.version) == (True, version)
    re_emit(cluster, orders, orders.index("by_name"), intent.row)
    assert everywhere(cluster, "SELECT item_version FROM mynamo_outbox ORDER BY id") == [
        (None,), (version,),
    ]  # fmt: skip
    assert placed(cluster, [intent])
