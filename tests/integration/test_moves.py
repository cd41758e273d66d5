"""Moving slots between shards while everything runs."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mynamo.catalog import definitions, moves, sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Table
from mynamo.errors import CorruptData, InvalidRequest
from mynamo.operations import wait_until_applied
from mynamo.operations.comparison_statements import fitting
from mynamo.operations.resharding import copying, rebalance
from mynamo.operations.resharding import mover as mover_module
from mynamo.operations.resharding.mover import Mover, Report, move_of, open_moves
from mynamo.producer import Producer, Put
from mynamo.reader import Reader
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.items import to_stored
from mynamo.schemas.keys import slot_of, slot_range
from mynamo.writer import maintenance as maintenance_module
from mynamo.writer.maintenance import Maintenance
from tests.comparing import gsi_damage
from tests.rows import everywhere, make_table, select
from tests.waiting import eventually
from tests.workers import pipeline

COUNT = 120


@pytest.fixture(autouse=True)
def quick_cleaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover_module, "CLEAN_AFTER", 0.2)


@pytest.fixture
def filled(config: ClusterConfig, cluster: Cluster, orders: Table, producer: Producer) -> Cluster:
    """A cluster with items whose GSI rows are on both shards."""
    for number in range(COUNT):
        producer.put("orders", item(number))
    with pipeline(config):
        assert wait_until_applied(cluster)
    return cluster


def item(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"i{number}", "at": "1", "price": number, "name": f"n{number % 30}", **more}


def all_items(cluster: Cluster, index: str | None = None) -> list[Any]:
    read, found, token = Reader(cluster), [], None
    while True:
        page = read.scan("orders", index=index, page_token=token, limit=70)
        found += page.items
        token = page.page_token
        if token is None:
            return sorted(found, key=lambda each: each["id"])


def slots_of(cluster: Cluster, shard_id: int) -> tuple[int, int]:
    """The first range of a shard."""
    owned = next(one for one in cluster.refresh().slots if one.shard_id == shard_id)
    return owned.first, owned.last


def rows_on(cluster: Cluster, shard_id: int, first: int, last: int) -> dict[str, int]:
    """How many rows of slots a shard has, by kind."""
    table = cluster.table("orders")
    (local,) = table.local_indexes
    (global_,) = table.global_indexes
    shard = cluster.shards[shard_id]
    names = {
        "items": (f"t{table.id}", "hash"),
        "local": (f"t{table.id}_l{local.id}", "hash"),
        "global": (f"t{table.id}_g{global_.id}", "index_hash"),
    }
    return {
        kind: sum(
            first <= slot_of(hash16) <= last
            for (hash16,) in select(shard, f"SELECT {column} FROM {name}")
        )
        for kind, (name, column) in names.items()
    }


def test_everything_of_a_range_moves(config: ClusterConfig, filled: Cluster) -> None:
    first, last = slots_of(filled, 1)
    middle = (first + last) // 2
    before = rows_on(filled, 1, middle, last)
    assert all(before.values())
    reports: list[Report] = []
    with pipeline(config):
        moved = Mover(filled, on_progress=reports.append).move(middle, last, 2)
    assert moved.switched is not None
    assert 0 < moved.switched.reads < moved.switched.writes < 5
    assert rows_on(filled, 2, middle, last) == before
    assert not any(rows_on(filled, 1, middle, last).values())
    assert [owned.shard_id for owned in filled.refresh().slots] == [1, 2]  # joined
    assert open_moves(filled) == []
    assert reports[-1].doing == "done"
    assert everywhere(filled, "SELECT * FROM mynamo_move_log") == []
    assert all_items(filled) == sorted(map(item, range(COUNT)), key=lambda each: each["id"])
    assert len(all_items(filled, "by_name")) == COUNT
    assert gsi_damage(filled, "orders") == []


def test_versions_go_on_growing(config: ClusterConfig, filled: Cluster, producer: Producer) -> None:
    table = filled.table("orders")
    first, last = slots_of(filled, 1)
    with pipeline(config):
        Mover(filled).move(first, last, 2)
        versions = dict(select(filled.shards[2], f"SELECT hash, version FROM t{table.id}"))
        for number in range(COUNT):
            producer.put("orders", item(number, changed=True))
        after = dict(select(filled.shards[2], f"SELECT hash, version FROM t{table.id}"))
        assert wait_until_applied(filled)
    assert all(after[hash16] > version for hash16, version in versions.items())
    assert gsi_damage(filled, "orders") == []


def test_there_and_back(config: ClusterConfig, filled: Cluster) -> None:
    first, last = slots_of(filled, 1)
    with pipeline(config):
        Mover(filled).move(first, last, 2)
        Mover(filled).move(first, last, 1)
    assert gsi_damage(filled, "orders") == []
    assert len(all_items(filled)) == COUNT


def test_a_cancelled_move_leaves_nothing(filled: Cluster) -> None:
    first, last = slots_of(filled, 1)
    move = moves.record_move(filled.catalog, first, last, 2, bytes(16))
    mover = Mover(filled)
    taken = moves.take_over(filled.catalog, move.id, mover.identity)
    assert taken is not None
    mover._copy_all(mover._begin(taken))
    assert any(rows_on(filled, 2, first, last).values())
    Mover(filled).cancel(move_of(filled, first, last).id)
    assert not any(rows_on(filled, 2, first, last).values())
    assert open_moves(filled) == []
    assert all_items(filled) == sorted(map(item, range(COUNT)), key=lambda each: each["id"])


def test_nobody_logs_for_a_move_that_was_cancelled(filled: Cluster, other: Cluster) -> None:
    """Nor who has not heard of it."""
    first, last = slots_of(filled, 1)
    move = moves.record_move(filled.catalog, first, last, 2, bytes(16))
    moves.raise_guard(filled.shards[1], filled.refresh().epochs[1])
    other.refresh()
    with Producer(other) as producer:
        producer.write_batch([Put("orders", item(number)) for number in range(20)])
        assert everywhere(filled, "SELECT * FROM mynamo_move_log") != []
        Mover(filled).cancel(move.id)
        producer.write_batch([Put("orders", item(number)) for number in range(20)])
    assert everywhere(filled, "SELECT * FROM mynamo_move_log") == []


def test_who_applied_a_queued_write_without_a_slot_is_right(
    config: ClusterConfig, filled: Cluster
) -> None:
    """Not the target, which was told that it was refused."""
    first, last = slots_of(filled, 1)
    insert = f"INSERT INTO mynamo_command VALUES (%s, {sql.NOW}, %s, %s)"
    filled.shards[1].run((insert, (b"c" * 16, 7, None)))
    filled.shards[2].run((insert, (b"c" * 16, None, b"no table")))
    with pipeline(config):
        Mover(filled).move(first, last, 2)
    found = select(filled.shards[2], "SELECT command_id, version, refused FROM mynamo_command")
    assert found == ((b"c" * 16, 7, None),)


def test_a_move_is_forgotten_some_time_after_its_end(
    config: ClusterConfig, filled: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = slots_of(filled, 1)
    with pipeline(config):
        Mover(filled).move(first, last, 2)
    maintenance = Maintenance(filled)
    maintenance.round()
    assert [move.state for move in filled.refresh().moves] == ["ENDED"]
    monkeypatch.setattr(maintenance_module, "MOVES_KEPT", 0.0)
    maintenance.round()
    assert filled.refresh().moves == ()


@pytest.mark.parametrize("step", ["move.6", "move.12"])
def test_a_table_that_is_dropped_meanwhile_is_let_go(
    config: ClusterConfig,
    filled: Cluster,
    other: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    """Behind the comparison, when the log has its keys; and before the old rows are deleted."""
    first, last = slots_of(filled, 1)
    table = make_table(other, "extra")
    filled.refresh()

    def drop(label: str) -> None:
        if label == step and "extra" in other.refresh().names:
            with Producer(other) as producer:
                producer.write_batch([Put("extra", item(number)) for number in range(20)])
            definitions.drop_table(other, "extra")
            there = f"SHOW TABLES LIKE 't{table.id}'"
            eventually(lambda: not everywhere(other, there))

    monkeypatch.setattr(mover_module, "crash_point", drop)
    with pipeline(config):
        Mover(filled).move(first, last, 2)
    assert open_moves(filled) == []
    assert "extra" not in filled.refresh().names
    assert gsi_damage(filled, "orders") == []


def test_a_row_that_comes_while_a_chunk_is_read_takes_no_other_rows_place(
    config: ClusterConfig, filled: Cluster, other: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In front of the others, after the chunk's size is known, and before it is read."""
    first, last = slots_of(filled, 1)
    table = filled.table("orders")
    lowest = min(hash16 for (hash16,) in select(filled.shards[1], f"SELECT hash FROM t{table.id}"))
    names = (f"new{number}" for number in range(100_000))
    name = next(n for n in names if table.key_of(to_stored({"id": n, "at": "1"})).hash < lowest)
    come: list[str] = []

    def late(sizes: Iterable[int]) -> int:
        if not come:
            come.append(name)
            with Producer(other) as producer:
                producer.put("orders", {"id": name, "at": "1"})
        return fitting(sizes)

    other.refresh()
    monkeypatch.setattr(copying, "fitting", late)
    with pipeline(config):
        Mover(filled).move(first, last, 2)
    assert come == [name]
    assert len(all_items(filled)) == COUNT + 1


@pytest.mark.parametrize("lost", [3, 0])
def test_old_rows_stay_if_the_target_was_restored_and_lacks_items(
    config: ClusterConfig, filled: Cluster, lost: int
) -> None:
    """The control: it was restored, and has all of them."""
    first, last = slots_of(filled, 1)
    before = rows_on(filled, 1, first, last)
    table = filled.table("orders")
    with pipeline(config):
        mover = Mover(filled)
        moved = mover.transfer(first, last, 2)
        low, high = slot_range(first, last)
        assert high is not None
        filled.shards[2].run(
            (f"DELETE FROM t{table.id} WHERE hash >= %s AND hash < %s LIMIT {lost}", (low, high))
        )
        assert filled.shards[2].adopt(1)
        if not lost:
            mover.clean(moved)
        else:
            with pytest.raises(CorruptData, match=r"lacks 3 items .* resume --discard"):
                mover.clean(moved)
            assert rows_on(filled, 1, first, last) == before
            with pytest.raises(CorruptData, match="lacks 3 items"):
                rebalance.resume(filled)
            rebalance.resume(filled, discard=True)
    assert not any(rows_on(filled, 1, first, last).values())
    assert open_moves(filled) == []


REFUSED = {
    "to nowhere": ((0, 10, 9), "shard 9 is not in the cluster"),
    "to itself": ((0, 10, 1), "slots 0-10 are on shard 1 already"),
    "of two shards": ((2000, 2100, 2), "these slots are not all on one shard"),
    "backwards": ((10, 0, 2), "slots are numbered from 0 to 4095"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_move_changes_nothing(cluster: Cluster, case: str) -> None:
    before = cluster.refresh()
    arguments, message = REFUSED[case]
    with pytest.raises(InvalidRequest, match=message):
        Mover(cluster).move(*arguments)
    assert cluster.refresh() == before


def test_a_range_that_moves_already_is_refused(cluster: Cluster) -> None:
    moves.record_move(cluster.catalog, 0, 10, 2, bytes(16))
    for range_ in ((5, 20), (100, 200)):
        with pytest.raises(InvalidRequest, match="slots resume"):
            Mover(cluster).move(*range_, 2)


def test_writes_go_on_meanwhile(config: ClusterConfig, filled: Cluster) -> None:
    """Puts, deletions, additions, and transactions of two items on any shards, by several threads,
    each on items of its own; none of them fails, and nothing is lost."""
    stop = threading.Event()
    first, last = slots_of(filled, 1)

    def work(thread: int) -> dict[str, dict[str, Any]]:
        chosen = random.Random(thread)
        mine: dict[str, dict[str, Any]] = {}
        with Cluster(config) as own:
            producer, read = Producer(own), Reader(own)
            while not stop.is_set():
                names = [f"w{thread}-{chosen.randrange(40)}" for _ in range(2)]
                keys = [{"id": name, "at": "1"} for name in names]
                new = [
                    {**key, "price": chosen.randrange(9), "name": f"n{chosen.randrange(30)}"}
                    for key in keys
                ]
                action = chosen.randrange(5)
                if action == 0:
                    producer.delete("orders", keys[0])
                    mine.pop(names[0], None)
                elif action == 1 and names[0] != names[1]:
                    producer.transact([Put("orders", each) for each in new])
                    mine |= dict(zip(names, new, strict=True))
                elif action == 2 and names[0] in mine:
                    producer.update("orders", keys[0], expression="ADD n :one", values={":one": 1})
                    mine[names[0]]["n"] = mine[names[0]].get("n", 0) + 1
                else:
                    producer.put("orders", new[0])
                    mine[names[0]] = new[0]
                assert read.get("orders", keys[0]) == mine.get(names[0])
                stop.wait(0.05)  # the workers are threads of this process, too
        return mine

    switched = []
    with pipeline(config), ThreadPoolExecutor(4) as pool:
        working = [pool.submit(work, thread) for thread in range(4)]
        try:
            for round_ in range(3):
                switched.append(Mover(filled).move(first, last, 2 - round_ % 2))
        finally:
            stop.set()
        written: dict[str, dict[str, Any]] = {}
        for each in working:
            written |= each.result()
        assert wait_until_applied(filled)
    found = {each["id"]: each for each in all_items(filled) if each["id"].startswith("w")}
    assert found == written
    assert gsi_damage(filled, "orders") == []
    assert len(written) > 40
