"""Whoever knows an outdated slot map finds out, and goes to the shard that owns the slot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

from mynamo.catalog import definitions, gsi_rows, slot_guard, sql
from mynamo.catalog.cluster import Cluster, Owner
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.slot_guard import LOCK_EPOCH, SlotsMoved
from mynamo.catalog.tables import Index, Table
from mynamo.errors import ShardUnavailable
from mynamo.mysql.pool import Session
from mynamo.operations.mend import lock_item_row
from mynamo.producer import Producer, Put
from mynamo.reader import Reader, batch_gets, fetching, transact_gets
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import dump_item, load_item, to_stored
from mynamo.schemas.keys import SLOTS, hash_of_parts
from mynamo.schemas.table import GlobalIndexSchema
from mynamo.writer.backfill import indexes, re_emit
from mynamo.writer.backfill.indexes import backfill_chunk
from mynamo.writer.transaction import commit, step_commit
from tests.fake_log import Bench
from tests.rows import everywhere, in_catalog, make_table, select
from tests.slots import Move
from tests.waiting import eventually

BY_COLOUR = GlobalIndexSchema.model_validate({"name": "by_colour", "hash_key": "colour"})
NAME = "a name"


@pytest.fixture
def config(engine_config: ClusterConfig) -> ClusterConfig:
    """Each engine in turn."""
    return engine_config


@pytest.fixture
def stale(config: ClusterConfig, cluster: Cluster, orders: Table) -> Iterator[Cluster]:
    """A process that knows the table, and the slot map of before."""
    with Cluster(config) as opened:
        assert opened.table("orders") == orders
        yield opened


@pytest.fixture
def move(cluster: Cluster, orders: Table) -> Move:
    """Of the slots of some items and index rows of `orders`."""
    return Move(cluster)


def moving(table: Table, move: Move) -> str:
    """The hash key of an item that moves."""
    names = (f"i{number}" for number in range(10_000))
    return next(n for n in names if move.has(table.key_of(stored(n)).hash))


def moving_value(move: Move, start: str = "c") -> str:
    """The value of an index's hash key whose rows move."""
    names = (f"{start}{number}" for number in range(10_000))
    return next(n for n in names if move.has(hash_of_parts([n.encode()])))


def stored(key: str) -> dict[str, Any]:
    return to_stored({"id": key, "at": "1"})


def change_on_target(cluster: Cluster, name: str) -> None:
    """What a write by the new map does to rows that came with a move."""
    target = cluster.shards[2]
    for hash16, data in select(target, f"SELECT hash, item FROM {name}"):
        item = load_item(data) | to_stored({"state": "new"})
        target.run((f"UPDATE {name} SET item = %s WHERE hash = %s", (dump_item(item), hash16)))


READS: dict[str, Callable[[Reader, str, str], list[Any]]] = {
    "get": lambda read, key, _: [read.get("orders", {"id": key, "at": "1"})],
    "batch get": lambda read, key, _: read.batch_get("orders", [{"id": key, "at": "1"}]),
    "transact get": lambda read, key, _: read.transact_get([("orders", {"id": key, "at": "1"})]),
    "transact get of two tables": lambda read, key, _: read.transact_get(
        [(name, {"id": key, "at": "1"}) for name in ("orders", "others")]
    )[:1],
    "query": lambda read, key, _: read.query("orders", key).items,
    "local index": lambda read, key, _: read.query("orders", key, index="by_price").items,
    "global index": lambda read, _, name: read.query("orders", name, index="by_name").items,
    "scan": lambda read, *_: read.scan("orders").items,
}


@pytest.fixture
def read_after_move(
    cluster: Cluster, stale: Cluster, orders: Table, producer: Producer, move: Move, kind: str
) -> Callable[[], list[Any]]:
    """What a process with the old map reads of an item that was moved and then changed."""
    make_table(cluster, "others")
    key, name = moving(orders, move), moving_value(move)
    item = {"id": key, "at": "1", "price": 1, "name": name, "state": "old"}
    producer.put("orders", item)
    index = orders.index("by_name")
    row = orders.key_of(stored(key))
    cluster.shards[1].run(
        (f"INSERT INTO {sql.index_table(index)} VALUES (%s, '', %s, %s, 1, %s)",
         (hash_of_parts([name.encode()]), row.hash, row.sort, dump_item(to_stored(item))))
    )  # fmt: skip
    read, reader = READS[kind], Reader(stale)
    assert [found["state"] for found in read(reader, key, name)] == ["old"]
    move.do()
    change_on_target(cluster, sql.main_table(orders.id))
    change_on_target(cluster, sql.index_table(index))
    return lambda: [found["state"] for found in read(reader, key, name)]


@pytest.mark.parametrize("kind", READS)
def test_a_read_by_an_old_slot_map_goes_to_the_new_owner(
    read_after_move: Callable[[], list[Any]],
) -> None:
    assert read_after_move() == ["new"]


@pytest.mark.parametrize("kind", READS)
def test_control_without_the_guard_a_read_finds_what_was_there_before_the_move(
    read_after_move: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (batch_gets, fetching, transact_gets):
        monkeypatch.setattr(module, "check_epoch", lambda *_: None)
    assert read_after_move() == ["old"]


@pytest.mark.parametrize("kind", READS)
def test_the_guard_costs_a_read_no_round_trip(
    cluster: Cluster,
    orders: Table,
    producer: Producer,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trips: list[int] = []
    execute = Session._execute

    def counting(self: Session, statements: Any, read: Any) -> Any:
        trips.append(len(statements))
        return execute(self, statements, read)

    make_table(cluster, "others")
    producer.put("orders", {"id": "a", "at": "1", "price": 1})
    reader = Reader(cluster)
    READS[kind](reader, "a", NAME)  # connections are open then
    monkeypatch.setattr(Session, "_execute", counting)
    READS[kind](reader, "a", NAME)
    # Of a scan, the shard that has nothing is asked for its guard.
    # Of a transaction over two tables, the snapshot begins and ends in the same round trip.
    assert trips == {
        "scan": [1] * 3,
        "local index": [2],
        "global index": [2],
        "transact get of two tables": [5],
    }.get(kind, [1])


@pytest.mark.parametrize("kind", ["get", "query", "scan"])
def test_what_is_absent_is_absent_on_its_owner_only(
    cluster: Cluster, stale: Cluster, orders: Table, producer: Producer, move: Move, kind: str
) -> None:
    """A reading that finds nothing looks at the guard all the same."""
    read, key = READS[kind], moving(orders, move)
    assert read(Reader(stale), key, NAME) in ([], [None])
    move.do()
    producer.put("orders", {"id": key, "at": "1"})
    assert cluster.shard_of(orders.key_of(stored(key)).hash).id == 2
    assert read(Reader(stale), key, NAME) == [{"id": key, "at": "1"}]


def test_in_one_batch_each_caller_is_judged_by_the_map_that_it_was_routed_by(
    cluster: Cluster, orders: Table
) -> None:
    shard, rows = cluster.shards[1], {orders.id: [orders.key_of(stored("a"))]}
    batcher = batch_gets.batcher_of(shard)
    for since, epoch in ((1, 1), (0, 1), (1, 2), (0, 2)):
        assert batcher.read(Owner(shard, since, epoch), rows) == {}
    for since, epoch in ((0, 0), (2, 2)):
        with pytest.raises(SlotsMoved):
            batcher.read(Owner(shard, since, epoch), rows)


def test_a_read_waits_for_a_shard_that_does_not_have_its_rows_yet(
    stale: Cluster, orders: Table, producer: Producer, move: Move
) -> None:
    key = moving(orders, move)
    producer.put("orders", {"id": key, "at": "1"})
    move.record()
    stale.refresh()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(Reader(stale).get, "orders", {"id": key, "at": "1"})
        with suppress(TimeoutError):
            reading.result(0.2)
        assert not reading.done()
        move.raise_guard(1)
        move.copy()
        move.raise_guard(2)
        assert reading.result(20) is not None


def test_a_move_that_takes_too_long_is_an_outage_for_readers(
    stale: Cluster, orders: Table, move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_guard, "PATIENCE", 0.1)
    move.record()
    stale.refresh()
    with pytest.raises(SlotsMoved, match="slots"):
        Reader(stale).get("orders", {"id": moving(orders, move), "at": "1"})


WRITES: dict[str, Callable[[Producer, str], Any]] = {
    "put": lambda write, key: write.put("orders", {"id": key, "at": "1"}),
    "batch": lambda write, key: write.write_batch([Put("orders", {"id": key, "at": "1"})]),
    "transact": lambda write, key: write.transact([Put("orders", {"id": key, "at": "1"})]),
    "transact over shards": lambda write, key: write.transact(
        [Put("orders", {"id": f"{key}{n}", "at": "1"}) for n in range(20)]
    ),
}


@pytest.fixture
def guarded_by(
    cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], None]:
    """Sets the guards of all shards; the slot map has since 3 and epoch 5."""
    monkeypatch.setattr(slot_guard, "PATIENCE", 0.05)
    in_catalog(
        cluster.config,
        *(f"REPLACE INTO mynamo_shards VALUES ({id_}, 'ACTIVE', 5)" for id_ in cluster.shards),
        "UPDATE mynamo_slots SET epoch = 3",
        "UPDATE mynamo_cluster SET version = version + 1",
    )
    cluster.refresh()

    def set_to(epoch: int) -> None:
        for shard in cluster.shards.values():
            shard.run(("UPDATE mynamo_fence SET version = %s WHERE id = 0", (epoch,)))

    return set_to


@pytest.mark.parametrize("kind", [*READS, *WRITES])
def test_a_guard_between_the_least_epoch_that_will_do_and_the_newest_one_is_accepted(
    cluster: Cluster, producer: Producer, guarded_by: Callable[[int], None], kind: str
) -> None:
    """It follows the catalog, so a map that is newer says more than the guard."""
    make_table(cluster, "others")

    def work() -> None:
        if kind in READS:
            READS[kind](Reader(cluster), "a", NAME)
        else:
            for outcome in [WRITES[kind](producer, "a")]:
                if isinstance(outcome, list) and isinstance(outcome[0], Exception):
                    raise outcome[0]

    for epoch in (3, 4, 5):
        guarded_by(epoch)
        work()
    for epoch in (2, 6):
        guarded_by(epoch)
        with pytest.raises(ShardUnavailable):
            work()


@pytest.mark.parametrize("kind", WRITES)
def test_control_without_the_guard_a_write_by_an_old_map_is_accepted(
    producer: Producer,
    guarded_by: Callable[[int], None],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (commit, step_commit):
        monkeypatch.setattr(module, "check_guards", lambda *_: None)
    monkeypatch.setattr(step_commit, "_check_finish", lambda *_: None)
    guarded_by(6)
    WRITES[kind](producer, "a")


@pytest.mark.parametrize("owners", ["neighbours", "alternating"])
def test_as_many_ranges_as_slots(
    cluster: Cluster, orders: Table, producer: Producer, owners: str
) -> None:
    """Items are found by key, and by scans, which read neighbouring ranges of one shard as one."""

    def of(slot: int) -> int:
        return 1 + (slot // 2048 if owners == "neighbours" else slot % 2)

    rows = ", ".join(f"({slot}, {slot}, {of(slot)}, 1)" for slot in range(SLOTS))
    in_catalog(
        cluster.config,
        "DELETE FROM mynamo_slots",
        f"INSERT INTO mynamo_slots VALUES {rows}",
        "UPDATE mynamo_cluster SET version = version + 1",
    )
    snapshot = cluster.refresh()
    assert [owned.shard_id for owned in snapshot.owners] == [of(slot) for slot in range(SLOTS)]
    items = [{"id": f"i{number}", "at": "1"} for number in range(20)]
    for item in items:
        producer.put("orders", item)
    reader = Reader(cluster)
    assert reader.batch_get("orders", items) == items
    scanned = [*reader.scan("orders", segment=0, total_segments=2).items]
    scanned += reader.scan("orders", segment=1, total_segments=2).items
    assert sorted(scanned, key=lambda item: item["id"]) == sorted(items, key=lambda i: i["id"])
    assert len(snapshot.neighbours) == (2 if owners == "neighbours" else SLOTS)


def test_a_move_waits_for_whoever_holds_the_guard(cluster: Cluster, move: Move) -> None:
    shard = cluster.shards[1]
    with ThreadPoolExecutor(1) as pool, shard.session() as session:
        session.run(("BEGIN", ()), LOCK_EPOCH)
        raising = pool.submit(move.raise_guard, 1)
        eventually(lambda: is_waiting(cluster, shard), 20)
        assert not raising.done()
        session.run(("COMMIT", ()))
        raising.result(20)


def is_waiting(cluster: Cluster, shard: DynamoDBShard) -> bool:
    found = select(
        shard,
        "SELECT id FROM information_schema.processlist"
        " WHERE id <> CONNECTION_ID() AND info LIKE 'UPDATE mynamo_fence%%'",
    )
    return bool(found)


# -- the indexer, backfills, re-emission, repair --------------------------------------


def unguarded(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
    for module in modules:
        monkeypatch.setattr(module, "check_epoch", lambda *_: None)


@pytest.fixture
def bench(engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A cluster with the table `orders`, whose first process learns of a move at once."""
    bench = Bench(engine_config, monkeypatch)
    make_table(bench.cluster)
    yield bench
    bench.close()


def rows_on(shard: DynamoDBShard, index: Index) -> list[Any]:
    """What the items in an index say on one shard."""
    found = select(shard, f"SELECT item FROM {sql.index_table(index)}")
    return [load_item(data).get("state", {}).get("S") for (data,) in found]


@pytest.mark.parametrize("guarded", [True, False], ids=["", "control"])
def test_an_indexer_with_an_old_slot_map_writes_to_the_new_owner(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    index = bench.cluster.table("orders").index("by_name")
    one = bench.indexer(bench.open_cluster())
    move = Move(bench.cluster)
    name = moving_value(move)
    bench.producer.put("orders", {"id": "a", "at": "1", "name": name, "state": "old"})
    bench.catch_up(one)
    move.do()
    bench.cluster.refresh()
    bench.producer.put("orders", {"id": "a", "at": "1", "name": name, "state": "new"})
    if not guarded:
        unguarded(monkeypatch, gsi_rows)
    bench.catch_up(one)
    assert rows_on(bench.cluster.shards[2], index) == ["new" if guarded else "old"]


@pytest.mark.parametrize("guarded", [True, False], ids=["", "control"])
def test_a_backfill_with_an_old_slot_map_reads_and_writes_by_the_new_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """Rows that were moved away are not read where they were, and index rows go to their owner."""
    table, move = bench.cluster.table("orders"), Move(bench.cluster)
    key = moving(table, move)
    old, new = moving_value(move), moving_value(move, "n")
    bench.producer.put("orders", {"id": key, "at": "1", "colour": old, "state": "old"})
    index = definitions.add_index(bench.cluster, "orders", BY_COLOUR)
    stale = bench.open_cluster()
    move.do()
    bench.cluster.refresh()
    # As a write by the new map would leave it, but for its event.
    item = dump_item(to_stored({"id": key, "at": "1", "colour": new, "state": "new"}))
    bench.cluster.shards[2].run(
        (f"UPDATE {sql.main_table(table.id)} SET item = %s, version = version + 5000", (item,))
    )
    if not guarded:
        unguarded(monkeypatch, gsi_rows, indexes)
    for shard in stale.shards.values():
        while backfill_chunk(stale, shard, index).more:
            pass
    by_shard = [rows_on(shard, index) for shard in bench.cluster.shards.values()]
    assert by_shard == ([[], ["new"]] if guarded else [["old"], []])


@pytest.mark.parametrize("guarded", [True, False], ids=["", "control"])
def test_an_item_is_re_emitted_where_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    table, move = bench.cluster.table("orders"), Move(bench.cluster)
    key = moving(table, move)
    bench.producer.put("orders", {"id": key, "at": "1", "name": NAME, "state": "old"})
    stale = bench.open_cluster()
    move.do()
    change_on_target(bench.cluster, sql.main_table(table.id))
    if not guarded:
        unguarded(monkeypatch, re_emit)
    re_emit.re_emit(stale, table, table.index("by_name"), table.key_of(stored(key)))
    home = bench.cluster.shards[2 if guarded else 1]
    [(payload,)] = select(home, "SELECT payload FROM mynamo_outbox ORDER BY id DESC LIMIT 1")
    assert (b'"new"' in payload) == guarded
    assert b'"repair"' in payload


def test_repair_locks_an_item_where_it_is(stale: Cluster, orders: Table, move: Move) -> None:
    row = orders.key_of(stored(moving(orders, move)))
    move.do()
    with pytest.raises(SlotsMoved), lock_item_row(stale, orders, row):
        pass
    stale.refresh()
    with lock_item_row(stale, orders, row) as (session, _):
        held = session.run(("SELECT DATABASE()", ()))[0].rows[0][0]
        assert held == stale.shards[2].config.database


def test_a_new_cluster_has_a_guard_on_every_shard(cluster: Cluster) -> None:
    guards = everywhere(cluster, "SELECT version FROM mynamo_fence WHERE id = 0")
    assert [epoch for (epoch,) in guards] == list(cluster.snapshot.epochs.values())
