"""Changes of tables and indexes: what dies in between, and who has not heard of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from mynamo.catalog import catalog as catalog_module
from mynamo.catalog import definitions, roll_forward, time_to_live
from mynamo.catalog import shard as shard_module
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Table
from mynamo.errors import IndexNotFound, ShardUnavailable, TableNotFound
from mynamo.mysql.pool import ConnectionPool, Result, Statement
from mynamo.producer import Producer
from mynamo.reader import Reader, fetching
from mynamo.schemas.config import ClusterConfig, PoolConfig
from mynamo.schemas.items import to_stored
from mynamo.schemas.table import GlobalIndexSchema, LocalIndexSchema, TableSchema
from mynamo.writer.transaction import commit
from mynamo.writer.transaction.commit import StaleDefinition
from mynamo.writer.transaction.write_requests import Write, WriteRequest, prepare
from tests.expiring import enabled, expire, ids, now
from tests.rows import in_catalog
from tests.waiting import eventually

SCHEMA = TableSchema.parse(
    {
        "name": "orders",
        "hash_key": "id",
        "sort_key": "at",
        "local_indexes": [{"name": "by_price", "sort_key": "price:N"}],
    }
)
SECOND_INDEX = GlobalIndexSchema.model_validate({"name": "by_size", "hash_key": "size:N"})
BY_SIZE = LocalIndexSchema.model_validate({"name": "by_size", "sort_key": "size:N"})


@pytest.fixture
def cluster(config: ClusterConfig) -> Iterator[Cluster]:
    with Cluster(config) as opened:
        definitions.create_table(opened, SCHEMA)
        yield opened


def item_of(cluster: Cluster, shard: DynamoDBShard) -> dict[str, object]:
    """An item that lies on a shard."""
    table = cluster.table("orders")
    for number in range(1000):
        item = {"id": {"S": f"i{number}"}, "at": {"S": "1"}}
        if cluster.shard_of(table.key_of(item).hash) is shard:
            return {"id": f"i{number}", "at": "1", "price": 1, "size": 2}
    raise AssertionError


def unreachable(shard: DynamoDBShard, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ShardUnavailable(f"{shard.where} does not answer")

    monkeypatch.setattr(shard, "run", refuse)
    monkeypatch.setattr(shard, "session", refuse)


def test_with_a_shard_down_a_new_index_changes_nothing(
    cluster: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = cluster.shards.values()
    with monkeypatch.context() as down:
        unreachable(second, down)
        with pytest.raises(ShardUnavailable, match="does not answer"):
            definitions.add_index(cluster, "orders", BY_SIZE)
        other.refresh()
        assert [i.name for i in other.table("orders").indexes] == ["by_price"]
        assert Producer(other).put("orders", item_of(other, other.shards[first.id])).version > 0
    assert definitions.add_index(cluster, "orders", BY_SIZE).status == "CREATING"


def test_with_a_shard_down_a_dropped_index_stops_no_write_on_the_others(
    cluster: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = cluster.shards.values()
    unreachable(second, monkeypatch)
    unreachable(other.shards[second.id], monkeypatch)
    with pytest.raises(ShardUnavailable, match="does not answer"):
        definitions.drop_index(cluster, "orders", "by_price")
    assert Producer(other).put("orders", item_of(other, other.shards[first.id])).version > 0


def test_with_a_shard_down_time_to_live_is_not_enabled(
    cluster: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = cluster.shards.values()
    with monkeypatch.context() as down:
        unreachable(second, down)
        with pytest.raises(ShardUnavailable, match="does not answer"):
            time_to_live.enable(cluster, "orders", "until")
        assert other.refresh().names["orders"].time_to_live is None
        assert Producer(other).put("orders", item_of(other, other.shards[first.id])).version > 0
    assert time_to_live.enable(cluster, "orders", "until").status == "CREATING"


def test_with_a_shard_down_time_to_live_is_disabled_at_once_and_cleared_later(
    cluster: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing expires from the catalog's commit on; a writer worker does what is left."""
    enabled(cluster)
    _, second = cluster.shards.values()
    gone = {**item_of(cluster, second), "until": now() - 60}
    Producer(cluster).put("orders", gone)
    with monkeypatch.context() as down:
        unreachable(second, down)
        with pytest.raises(ShardUnavailable, match="does not answer"):
            time_to_live.disable(cluster, "orders")
    table = other.refresh().names["orders"]
    assert [i.status for i in table.indexes if i.kind == "TTL"] == ["DELETING"]
    assert expire(other) == 0
    roll_forward.roll_forward(other, table.id)
    assert not [i for i in other.refresh().names["orders"].indexes if i.kind == "TTL"]
    assert expire(other) == 0
    assert ids(other) == {gone["id"]}


def test_a_reader_that_missed_the_dropping_of_an_index_is_told(
    cluster: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roll_forward, "on_every_shard", half_way(roll_forward.on_every_shard))
    item = item_of(cluster, cluster.shards[1])
    with pytest.raises(ShardUnavailable, match="half-way"):
        definitions.drop_index(cluster, "orders", "by_price")
    Producer(cluster).put("orders", item)
    with monkeypatch.context() as patch:  # the control: a reader that does not look
        patch.setattr(
            fetching,
            "fetch_rows",
            lambda owner, _, statement, __: owner.shard.run(statement)[0].rows,
        )
        assert Reader(other).query("orders", item["id"], index="by_price").items == []
    with pytest.raises(IndexNotFound):
        Reader(other).query("orders", item["id"], index="by_price")


def half_way(on_all: object) -> object:
    """The process dies before it drops the physical tables."""

    def step(cluster: Cluster, do: object) -> None:
        if getattr(do, "__name__", "") == "drop":
            raise ShardUnavailable("half-way")
        on_all(cluster, do)  # type: ignore[operator]

    return step


def test_a_table_dropped_while_it_is_made_is_gone(
    cluster: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = TableSchema.parse({"name": "short-lived", "hash_key": "id"})
    activate = cluster.catalog.activate_table
    dropping: list[threading.Thread] = []

    def drop_first(table_id: int) -> None:
        dropping.append(
            threading.Thread(target=definitions.drop_table, args=(other, "short-lived"))
        )
        dropping[0].start()
        eventually(lambda: status(cluster, table_id) == "DELETING", 10)
        activate(table_id)

    monkeypatch.setattr(cluster.catalog, "activate_table", drop_first)
    with pytest.raises(TableNotFound):
        definitions.create_table(cluster, made)
    dropping[0].join()
    assert "short-lived" not in cluster.refresh().names


def reads_of_tables(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From now on, each time that the definitions are read."""
    reads: list[str] = []
    run = cluster.catalog._run

    def noting(*statements: Statement) -> list[Result]:
        reads.extend(text for text, _ in statements if "FROM mynamo_tables t" in text)
        return run(*statements)

    monkeypatch.setattr(cluster.catalog, "_run", noting)
    return reads


def test_definitions_are_read_where_they_have_changed(
    cluster: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions.create_table(other, TableSchema.parse({"name": "second", "hash_key": "id"}))
    before = cluster.refresh()
    reads = reads_of_tables(cluster, monkeypatch)
    assert cluster.refresh() is before
    assert reads == []
    definitions.add_index(other, "second", SECOND_INDEX)
    after = cluster.refresh()
    assert len(reads) == 1
    assert after.names["orders"] is before.names["orders"]
    assert after.names["second"].index("by_size").status == "CREATING"
    other.catalog.change_settings(after.names["second"].id, lambda settings: settings)
    cluster.refresh()
    assert len(reads) == 2


def test_every_change_of_the_catalog_is_seen(cluster: Cluster, other: Cluster) -> None:
    """Each of them counts up the catalog's version, on which the others rest."""
    table_id = other.catalog.add_table(TableSchema.parse({"name": "second", "hash_key": "id"}))
    catalog, versions = other.catalog, [cluster.snapshot.version]

    def seen(check: Callable[[Table | None], bool]) -> None:
        found = cluster.refresh()
        versions.append(found.version)
        assert check(found.tables.get(table_id))

    seen(lambda table: table is not None and table.status == "CREATING")
    catalog.activate_table(table_id)
    seen(lambda table: table is not None and table.status == "ACTIVE")
    index_id = catalog.plan_index(table_id, SECOND_INDEX)
    catalog.add_index(table_id, index_id, SECOND_INDEX)
    seen(lambda table: table is not None and table.index("by_size").status == "CREATING")
    catalog.activate_index(index_id)
    seen(lambda table: table is not None and table.index("by_size").status == "ACTIVE")
    catalog.retire_index(table_id, index_id)
    seen(lambda table: table is not None and table.live_indexes == ())
    catalog.forget_index(index_id)
    seen(lambda table: table is not None and table.indexes == ())
    catalog.retire_table(table_id)
    seen(lambda table: table is not None and table.status == "DELETING")
    catalog.forget_table(table_id)
    seen(lambda table: table is None)
    assert versions == sorted(set(versions))


def test_a_catalog_that_was_restored_is_read_again_though_its_version_is_the_same(
    config: ClusterConfig, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_catalog(config, "UPDATE mynamo_tables SET version = 7")
    assert cluster.refresh().names["orders"].version == 1  # by its number nothing has changed
    monkeypatch.setattr(catalog_module, "READ_ALL_EVERY", 0.0)
    assert cluster.refresh().names["orders"].version == 7


def status(cluster: Cluster, table_id: int) -> str:
    table = cluster.catalog.load().tables.get(table_id)
    return table.status if table else "gone"


def test_rolling_a_dropped_table_forward_too_late_brings_nothing_back(
    cluster: Cluster, other: Cluster
) -> None:
    late = cluster.table("orders")
    definitions.drop_table(other, "orders")
    roll_forward.roll_forward_definition(cluster, late)  # knows of no lock and no drop
    for shard in cluster.shards.values():
        guard = shard.run(("SELECT version FROM mynamo_fence WHERE id = %s", (late.id,)))[0].rows
        assert guard[0][0] > late.version
    with pytest.raises(TableNotFound):
        Producer(cluster).put("orders", {"id": "a", "at": "1"})


def test_many_writers_and_a_change_of_definitions_do_not_starve_each_other(
    config: ClusterConfig, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_module, "PATIENCE", 20.0)
    small = config.model_copy(
        update={"pool": config.pool.model_copy(update={"size": 3, "wait_timeout": 15.0})}
    )
    with Cluster(small) as crowded, ThreadPoolExecutor(13) as pool:
        producer = Producer(crowded)
        puts = [
            pool.submit(producer.put, "orders", {"id": f"{n}", "at": "1", "size": n})
            for n in range(300)
        ]
        definitions.add_index(crowded, "orders", BY_SIZE)
        for put in puts:
            assert put.result().version > 0


def test_limits_are_checked_under_the_lock(cluster: Cluster, other: Cluster) -> None:
    """Two processes that add indexes at once cannot exceed them together."""
    names = [f"extra{n}" for n in range(6)]

    def add(pair: tuple[Cluster, str]) -> bool:
        by, name = pair
        schema = LocalIndexSchema.model_validate({"name": name, "sort_key": name})
        try:
            definitions.add_index(by, "orders", schema)
        except ValueError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        pairs = [((cluster, other)[n % 2], name) for n, name in enumerate(names)]
        added = list(pool.map(add, pairs))
    assert added.count(True) == 4
    assert len(cluster.refresh().names["orders"].local_indexes) == 5


def raise_epoch(cluster: Cluster) -> None:
    """As if slots of shard 1 had been moved."""
    catalog = ConnectionPool(cluster.config.catalog, PoolConfig(), "catalog")
    with catalog.session() as session:
        session.run(
            ("UPDATE mynamo_slots SET epoch = epoch + 1 WHERE shard_id = 1", ()),
            ("UPDATE mynamo_shards SET epoch = epoch + 1 WHERE shard_id = 1", ()),
            ("UPDATE mynamo_cluster SET version = version + 1", ()),
        )
    catalog.close()
    cluster.shards[1].run(("UPDATE mynamo_fence SET version = version + 1 WHERE id = 0", ()))


def prepared(cluster: Cluster, item: dict[str, object]) -> Write:
    request = WriteRequest("orders", "PUT", to_stored(item))
    return prepare(cluster, request, cluster.table("orders"))


def test_a_write_with_an_old_definition_is_refused_in_a_batch_with_a_new_one(
    cluster: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = other.shards[1]
    old = prepared(other, item_of(other, shard))
    definitions.add_index(cluster, "orders", BY_SIZE)
    other.refresh()
    new = prepared(other, {**item_of(other, shard), "at": "2"})
    for batch in ([old, new], [new, old]):
        with pytest.raises(StaleDefinition):
            commit.commit_together(other, shard, [[write] for write in batch], careful=False)
    # The control: looking at one of the two only lets the old one in.
    check = commit.check_guards
    monkeypatch.setattr(commit, "check_guards", lambda writes, found: check([new], found))
    assert len(commit.commit_together(other, shard, [[old], [new]], careful=False)) == 2


def test_a_write_routed_by_an_old_slot_map_is_refused_after_a_refresh(
    cluster: Cluster, other: Cluster
) -> None:
    shard = other.shards[1]
    routed = prepared(other, item_of(other, shard))
    raise_epoch(cluster)
    other.refresh()
    with pytest.raises(StaleDefinition):
        commit.commit_together(other, shard, [[routed]], careful=False)
    again = prepared(other, item_of(other, shard))
    assert len(commit.commit_together(other, shard, [[again]], careful=False)) == 1
    # The control: a write that is let in by the newest map of its process, not by its own.
    late = replace(routed, route=again.route)
    assert len(commit.commit_together(other, shard, [[late]], careful=False)) == 1
