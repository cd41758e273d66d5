"""Streams beside writers, relays that die, moves of slots, and transactions that commit late."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Table, TableStream
from mynamo.errors import InvalidRequest
from mynamo.operations.leaving import remove_shard
from mynamo.operations.resharding import mover as mover_module
from mynamo.operations.resharding import rebalance, switch
from mynamo.operations.resharding.mover import Mover
from mynamo.producer import Producer
from mynamo.reader.streams.follower import StreamFollower
from mynamo.reader.streams.stream_reader import StreamReader
from mynamo.runtime.crash_points import LABELS, VARIABLE
from mynamo.schemas.config import ClusterConfig
from mynamo.schemas.stream_records import StreamRecord
from mynamo.writer.outbox import relay as relay_module
from mynamo.writer.worker import run_writer
from tests.following import number_all, read_all, shards_of, with_stream
from tests.rows import make_table
from tests.waiting import eventually
from tests.worker_process import worker_process
from tests.workers import pipeline, working

ITEMS = 20
SECONDS = 8.0
RELAYS = [label for label in LABELS if label.startswith("relay.")]


@pytest.fixture(autouse=True)
def quick_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover_module, "CLEAN_AFTER", 0.2)
    monkeypatch.setattr(switch, "LAG", 1.0)  # everything is in one process, on a busy machine
    monkeypatch.setattr(switch, "FIRST_ATTEMPT", 1.0)


def count_up(producer: Producer, number: int) -> None:
    producer.update(
        "orders", {"id": f"i{number}", "at": "1"}, expression="ADD n :one", values={":one": 1}
    )


class Counting:
    """Clients that count up numbers, and what they have counted."""

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.counts: dict[str, int] = defaultdict(int)

    @contextmanager
    def running(self, clients: int = 3) -> Iterator[None]:
        with ThreadPoolExecutor(clients) as pool:
            each = [pool.submit(self._count, seed) for seed in range(clients)]
            try:
                yield
            finally:
                self._stop.set()
            for one in each:
                one.result(60)

    def _count(self, seed: int) -> None:
        chance = Random(seed)
        with Cluster(self._config) as cluster, Producer(cluster) as producer:
            while not self._stop.is_set():
                number = chance.randrange(ITEMS)
                count_up(producer, number)
                with self._lock:
                    self.counts[f"i{number}"] += 1
                time.sleep(0.003)


class Follows:
    """Follows a stream in a thread, and keeps what each item's records say of its number."""

    def __init__(self, config: ClusterConfig, stream: TableStream) -> None:
        self._config = config
        self._stream = stream
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self.seen: dict[str, list[int]] = defaultdict(list)

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(30)
        assert not self._failures, self._failures

    def _follow(self) -> None:
        try:
            with Cluster(self._config) as cluster:
                follower = StreamFollower(StreamReader(cluster), self._stream)
                while not self._stop.is_set():
                    found = follower.poll()
                    note(self.seen, found)
                    if not found:
                        time.sleep(0.02)
        except BaseException as failure:
            self._failures.append(failure)


def note(seen: dict[str, list[int]], records: list[StreamRecord]) -> None:
    for record in records:
        assert record.new is not None
        seen[record.keys["id"]["S"]].append(int(record.new["n"]["N"]))


def read_now(cluster: Cluster, stream: TableStream) -> dict[str, list[int]]:
    seen: dict[str, list[int]] = defaultdict(list)
    note(seen, read_all(cluster, stream))
    return seen


def wrong(seen: dict[str, list[int]], counts: dict[str, int]) -> list[str]:
    """Items whose records do not say 1, 2, 3 and so on, each once."""
    return [
        f"{id_}: {seen.get(id_)}, of {count}"
        for id_, count in counts.items()
        if seen.get(id_) != list(range(1, count + 1))
    ]


def test_negative_control_what_is_missing_or_doubled_or_out_of_order_is_seen() -> None:
    assert wrong({"a": [1, 2, 3]}, {"a": 3}) == []
    for seen in ([1, 3], [1, 2, 2, 3], [2, 1, 3], [1, 2]):
        assert len(wrong({"a": seen}, {"a": 3})) == 1


@pytest.mark.parametrize("label", RELAYS)
def test_each_change_is_recorded_once_though_relays_die(
    config: ClusterConfig, cluster: Cluster, orders: Table, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, label: str,
) -> None:  # fmt: skip
    stream = with_stream(cluster)
    counting = Counting(config)
    monkeypatch.setenv(VARIABLE, f"{label}:8")
    with counting.running(), worker_process(config, tmp_path, "relay") as process:
        process.wait(60)
        monkeypatch.delenv(VARIABLE)
    with working(config, run_writer):
        eventually(lambda: wrong(read_now(cluster, stream), counting.counts) == [], 20)


def test_records_follow_slots_that_move(
    config: ClusterConfig, cluster: Cluster, orders: Table
) -> None:
    stream = with_stream(cluster)
    counting, follows = Counting(config), Follows(config, stream)
    moves = 0
    with pipeline(config), follows.running():
        with counting.running():
            ends_at, target = time.monotonic() + SECONDS, 2
            while time.monotonic() < ends_at or moves < 3:
                Mover(cluster).move(512, 1535, target)
                moves, target = moves + 1, 3 - target
        eventually(lambda: wrong(follows.seen, counting.counts) == [], 30)
    assert wrong(read_now(cluster, stream), counting.counts) == []
    assert max(each.generation for each in shards_of(cluster, stream)) > moves


def test_negative_control_who_reads_children_before_their_parents_sees_another_order(
    config: ClusterConfig, cluster: Cluster, orders: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = with_stream(cluster)
    with Producer(cluster) as producer, pipeline(config):
        for target in (2, 1, 2):
            for number in range(ITEMS):
                count_up(producer, number)
            owned = next(one for one in cluster.refresh().slots if one.shard_id != target)
            Mover(cluster).move(owned.first, owned.last, target)
        eventually(lambda: len(read_all(cluster, stream)) == 3 * ITEMS)
    counts = {f"i{number}": 3 for number in range(ITEMS)}
    assert wrong(read_now(cluster, stream), counts) == []
    monkeypatch.setattr(StreamFollower, "_may_begin", lambda self, shard: True)
    monkeypatch.setattr(
        StreamReader, "shards", _reversed(StreamReader.shards)
    )  # else the parents have the smaller names, and come first by chance
    assert wrong(read_now(cluster, stream), counts) != []


def _reversed(shards: Any) -> Any:
    return lambda self, stream: list(reversed(shards(self, stream)))


# -- transactions that commit late -------------------------------------------------------------


@contextmanager
def late_commit(cluster: Cluster, table: Table, price: int) -> Iterator[None]:
    """A write whose outbox row has its id, and which commits at the end of the block: it waits for
    a row of the LSI."""
    row = table.key_of({"id": {"S": "late"}, "at": {"S": "1"}})
    shard = cluster.shard_of(row.hash)
    (index,) = table.local_indexes
    sort = index.sort_of({"price": {"N": str(price)}})
    with shard.session() as session, ThreadPoolExecutor(1) as pool:
        session.run(
            ("BEGIN", ()),
            (f"INSERT INTO {sql.index_table(index)} VALUES (%s, %s, %s)",
             (row.hash, sort, row.sort)),
        )  # fmt: skip
        with Cluster(cluster.config) as other, Producer(other) as producer:
            item = {"id": "late", "at": "1", "price": price, "name": "n", "n": 1}
            writing = pool.submit(producer.put, "orders", item)
            time.sleep(0.5)
            try:
                yield
            finally:
                session.rollback()
            writing.result(30)


def read_beside_late_commit(cluster: Cluster, table: Table, stream: TableStream) -> list[str]:
    """What a follower reads that has read what committed before the late one."""
    row = table.key_of({"id": {"S": "late"}, "at": {"S": "1"}})
    shard = cluster.shard_of(row.hash)
    follower = StreamFollower(StreamReader(cluster), stream)
    beside = next(
        f"i{number}"
        for number in range(1000)
        if cluster.shard_of(table.key_of(_key(f"i{number}")).hash) is shard
    )
    found: list[StreamRecord] = []
    with Producer(cluster) as producer, late_commit(cluster, table, 7):
        producer.put("orders", {"id": beside, "at": "1", "price": 1, "name": "n", "n": 1})
        number_all(cluster)
        found += follower.poll()
    number_all(cluster)
    found += follower.poll() + follower.poll()
    return [record.keys["id"]["S"].replace(beside, "beside") for record in found]


def _key(id_: str) -> dict[str, dict[str, str]]:
    return {"id": {"S": id_}, "at": {"S": "1"}}


def test_a_change_that_commits_late_is_not_passed_over(engine_config: ClusterConfig) -> None:
    with Cluster(engine_config) as cluster:
        make_table(cluster)
        stream = with_stream(cluster)
        table = cluster.table("orders")
        assert read_beside_late_commit(cluster, table, stream) == ["beside", "late"]


def test_negative_control_with_ids_as_numbers_it_is(
    engine_config: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ids(rows: Any, last_seq: int, last_by_part: Any) -> Any:
        return [(row[0], row[0], 0) for row in rows], {}

    with Cluster(engine_config) as cluster:
        make_table(cluster)
        stream = with_stream(cluster)
        table = cluster.table("orders")
        monkeypatch.setattr(relay_module, "number", ids)
        monkeypatch.setattr(relay_module.Relay, "has_gone_back", lambda *_: False)
        assert read_beside_late_commit(cluster, table, stream) == ["beside"]


# -- shards that go ----------------------------------------------------------------------------


def test_a_shard_with_records_is_not_removed_unless_they_are_discarded(
    config: ClusterConfig, cluster: Cluster, orders: Table
) -> None:
    stream = with_stream(cluster)
    with Producer(cluster) as producer, pipeline(config):
        for number in range(ITEMS):
            count_up(producer, number)
        rebalance.drain(cluster, 1)
        with pytest.raises(InvalidRequest, match=r"24\.0 h"):
            remove_shard(cluster, 1)
        eventually(lambda: len(read_all(cluster, stream)) == ITEMS)
        remove_shard(cluster, 1, discard_streams=True)
        for number in range(ITEMS):
            count_up(producer, number)
        eventually(
            lambda: (
                [r for r in read_all(cluster, stream) if r.new and r.new["n"]["N"] == "2"]
                and len({r.keys["id"]["S"] for r in read_all(cluster, stream)}) == ITEMS
            )
        )
